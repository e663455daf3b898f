"""Models: what a version is, how claims become tensors, how a batch is scored, where models are kept."""

from models.assembly import GIGABYTE, CacheOptions, open_pool
from models.devices import CPU, device_load, device_memory
from models.errors import DeviceError, FeatureError, ModelError, UnavailableError, UnknownModelError
from models.exporting import export_version
from models.features import ClaimFeatures, FeatureSpec
from models.inference import BatchResults, ClaimResult
from models.lookups import hit_rates
from models.manager import MLModelCacheManager, SyncModelCacheManager
from models.priority import ModelPriority
from models.protocols import ColumnShape, FeatureEncoder, Model, ModelIdentity
from models.release import VersionKey
from models.repository import Repository, is_known, open_model
from models.status import CacheStatus, TierStatus
from models.tiers.pool import Pool

__all__ = [
    "CPU",
    "GIGABYTE",
    "BatchResults",
    "CacheOptions",
    "CacheStatus",
    "ClaimFeatures",
    "ClaimResult",
    "ColumnShape",
    "DeviceError",
    "FeatureEncoder",
    "FeatureError",
    "FeatureSpec",
    "MLModelCacheManager",
    "Model",
    "ModelError",
    "ModelIdentity",
    "ModelPriority",
    "Pool",
    "Repository",
    "SyncModelCacheManager",
    "TierStatus",
    "UnavailableError",
    "UnknownModelError",
    "VersionKey",
    "device_load",
    "device_memory",
    "export_version",
    "hit_rates",
    "is_known",
    "open_model",
    "open_pool",
]
