"""The error tree. The branch of an error says what is done about it: retry, dead letter, fatal, stop."""

from __future__ import annotations


class ClaimstreamError(Exception):
    """Root of the tree; a message says what was wrong, where, and what to do.

    `exit_code` is that of a command or a stage which ends by it: 1 failed, 2 bad usage or configuration, 3 stopped
    because a person has to look. Only after 1 does it help to start again.
    """

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


class UnfinishedError(RetryError):
    """Something outside answered in part: the next try goes on from there, and may come at once."""


class RecordError(ClaimstreamError):
    """One record cannot be processed; it goes to the dead letters, the others go on."""


class DecodeError(RecordError):
    """The bytes are not a claim."""


class ScoringError(RecordError):
    """A model failed on this claim, or its score is not a finite number."""


class OversizeError(RecordError):
    """The record or its result is larger than the stage may carry."""
