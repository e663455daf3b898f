"""Log lines that programs read."""

from __future__ import annotations

import json
import logging
import os
import re

import pytest

from stream.log_lines import formatter


@pytest.mark.parametrize(
    "text", ["plain %s", "two\nlines of %s", 'a quote " of %s', "half a pair \udc80 \u2028 %s"]
)
def test_whatever_is_said_is_one_object_a_line(text: str) -> None:
    record = logging.LogRecord("stream.x", logging.WARNING, __file__, 1, text, ("it",), None)
    line = formatter("json").format(record)
    read = json.loads(line)
    assert len(line.splitlines()) == 1
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", read.pop("timestamp"))
    assert read == {
        "level": "warning",
        "logger": "stream.x",
        "process": os.getpid(),
        "message": text % "it",
    }


def test_an_error_brings_its_traceback() -> None:
    try:
        raise ValueError("no luck")
    except ValueError as error:
        given = (ValueError, error, error.__traceback__)
    record = logging.LogRecord("x", logging.ERROR, __file__, 1, "it ends", (), given)
    read = json.loads(formatter("json").format(record))
    assert (read["message"], read["exception"].splitlines()[-1]) == ("it ends", "ValueError: no luck")


def test_for_people_the_process_stands_in_the_line() -> None:
    record = logging.LogRecord("stream.x", logging.INFO, __file__, 1, "said", (), None)
    assert formatter("text").format(record).endswith(f" INFO {os.getpid()} stream.x: said")
