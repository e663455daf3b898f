"""Models: what a version is, how claims become tensors, how a batch is scored."""
