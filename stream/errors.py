"""The error tree. Each error carries what is to be done about it."""

from __future__ import annotations

from enum import Enum


class Disposition(Enum):
    """What the stage does with the work that met an error."""

    RETRY = "retry"
    DEAD_LETTER = "dead-letter"
    FATAL = "fatal"


class ClaimstreamError(Exception):
    """Root of the tree; a message says what was wrong, where, and what to do.

    `exit_code` is that of a command or a stage which ends by it: 1 failed, 2 bad usage or configuration, 3 stopped
    because a person has to look. Only after 1 does it help to start again.
    """

    disposition = Disposition.FATAL
    exit_code = 1


class UsageError(ClaimstreamError):
    """A wrong option, file or configuration."""

    exit_code = 2


class FatalError(ClaimstreamError):
    """The worker leaves its group in bounded time, and is started again; nothing uncommitted is lost."""


class StopError(FatalError):
    """Another worker or another start would meet the same: the whole stage stops until a person has looked."""

    exit_code = 3


class RetryError(ClaimstreamError):
    """Something outside is unavailable for now: the work stays where it is and is tried again."""

    disposition = Disposition.RETRY


class RecordError(ClaimstreamError):
    """One record cannot be processed; it goes to the dead letters, the others go on."""

    disposition = Disposition.DEAD_LETTER


class DecodeError(RecordError):
    """The bytes are not a claim."""


class ScoringError(RecordError):
    """A model failed on this claim, or its score is not a finite number."""


class OversizeError(RecordError):
    """The record or its result is larger than the stage may carry."""
