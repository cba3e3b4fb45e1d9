"""Model sources (from scratch, checkpoint, in memory) and the loss that all stages share."""
