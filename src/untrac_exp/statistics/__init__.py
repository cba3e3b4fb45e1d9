"""Agreement with the truth, ceilings, intervals and rankings."""
