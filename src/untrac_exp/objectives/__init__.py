"""What unlearning steps minimise: plain, anchored and bounded ascents of the loss."""
