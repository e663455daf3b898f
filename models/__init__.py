"""Models: what a version is, how claims become tensors, how a batch is scored."""

from models.protocols import ColumnShape, FeatureEncoder, Model, ModelIdentity
from models.repository import is_known, open_model

__all__ = ["ColumnShape", "FeatureEncoder", "Model", "ModelIdentity", "is_known", "open_model"]
