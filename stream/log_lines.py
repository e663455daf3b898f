"""How a log line looks: as text for people, or as one JSON object for programs."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Literal

Form = Literal["text", "json"]


def formatter(form: Form) -> logging.Formatter:
    """Of every line, in every process."""
    if form == "json":
        return JsonLines()
    return logging.Formatter("%(asctime)s %(levelname)s %(process)d %(name)s: %(message)s")


class JsonLines(logging.Formatter):
    """One object a line; line breaks within a value are escaped."""

    def format(self, record: logging.LogRecord) -> str:
        written = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {
            "timestamp": written.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": record.process,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)
