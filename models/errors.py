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


class UnavailableError(ModelError):
    """A device or a precision that the model cannot run on or in."""


class FeatureError(ModelError):
    """Columns that a feature spec needs and a claim batch does not have."""
