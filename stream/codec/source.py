"""Where writer schemas come from that a record names by an id."""

from __future__ import annotations

from typing import Any, Protocol


class SchemaSource(Protocol):
    """Gives the schema that an id stands for."""

    def schema(self, schema_id: int) -> dict[str, Any]:
        """Raises DecodeError for an unknown id, RetryError while the source cannot be reached."""
