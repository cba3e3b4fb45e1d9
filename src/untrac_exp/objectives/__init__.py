"""Unlearning objectives: gradient ascent, with a retain-set regulariser, or bounded."""
