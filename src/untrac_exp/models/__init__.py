"""Models: an architecture from scratch or a checkpoint, and the loss all stages share."""
