"""Four places that a model version can be in, nearest first: device, memory, Redis, repository."""
