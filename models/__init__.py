"""Models: what a version is, how claims become tensors, how a batch is scored."""

from models.protocols import ColumnShape, FeatureEncoder, Model, ModelIdentity
from models.repository import open_model

__all__ = ["ColumnShape", "FeatureEncoder", "Model", "ModelIdentity", "open_model"]
