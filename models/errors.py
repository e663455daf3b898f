"""What can be wrong with a model. Independent of the stage, which maps these to its own dispositions."""

from __future__ import annotations


class ModelError(Exception):
    """Root of the tree; a message says what was wrong, where, and what to do."""


class UnknownModelError(ModelError):
    """No model of that name or version; the message names the nearest."""


class ManifestError(ModelError):
    """A manifest that does not say what a model needs."""


class ArtifactError(ModelError):
    """A file of a model that is missing, damaged, or not what its manifest says."""


class PublishError(ModelError):
    """A version or an alias that cannot be written as asked; the repository is as it was."""


class UnavailableError(ModelError):
    """A device or a precision that the model cannot run on or in."""


class DeviceError(ModelError):
    """A device that failed; it goes on failing in this process, whatever it is asked."""


class FeatureError(ModelError):
    """Columns that a feature spec needs and a claim batch does not have."""


class TrainingError(ModelError):
    """Labelled claims that a model cannot be learned from."""


class TierError(ModelError):
    """A tier of the cache could not do what was asked; the walk goes on without it."""


class AbsentError(TierError):
    """The tier does not hold the version, or not all of it any more."""


class UnreachableError(TierError):
    """The tier does not answer, or not fast enough."""


class NoFolderError(UnreachableError):
    """The folder that was named as the repository is not there."""


class NoRoomError(TierError):
    """The version does not fit the tier's budget, or would push out what is worth more."""


class TooLargeError(NoRoomError):
    """The version is larger than the whole budget; no eviction would help."""


class BuildError(ModelError):
    """Verified files of which no model came; the message has what the library said."""


class LoadFailedError(ModelError):
    """A load ended with an error of the system or of this program; nothing of it stays."""


class LoadTimeoutError(ModelError):
    """A load took longer than it was given; nothing of it stays."""


class LoadCancelledError(ModelError):
    """Nobody waits for a load any more, or the cache closes; nothing of it stays."""
