"""What keeps an audit from its end, in the errors of this program."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from confluent_kafka import KafkaException

from stream.errors import FatalError, UsageError


@contextmanager
def told() -> Iterator[None]:
    """Around an audit. Raises FatalError, and UsageError for a group that reads something else."""
    try:
        yield
    except KafkaException as error:
        raise FatalError(f"the audit could not read on: {error.args[0].str()}") from error
    except TimeoutError as error:
        raise FatalError(str(error)) from error
    except LookupError as error:
        raise UsageError(str(error)) from error
    except ValueError as error:
        raise FatalError(f"{error}; OUTPUT is to be a topic of scores") from error
