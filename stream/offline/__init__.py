"""The stage's scoring without Kafka: claims of a file in, a file of results out."""

from stream.offline.files import suffix_of
from stream.offline.fleet import Fleet, open_fleet, opened_models
from stream.offline.identity import Identity, Origin, identity_of, origin_of
from stream.offline.inputs import Inputs
from stream.offline.passes import score_all
from stream.offline.portions import Portion, Portions
from stream.offline.scorer import Layout, OfflineScorer, Scored
from stream.offline.store import Store

__all__ = [
    "Fleet",
    "Identity",
    "Inputs",
    "Layout",
    "OfflineScorer",
    "Origin",
    "Portion",
    "Portions",
    "Scored",
    "Store",
    "identity_of",
    "open_fleet",
    "opened_models",
    "origin_of",
    "score_all",
    "suffix_of",
]
