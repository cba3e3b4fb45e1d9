"""Processes and devices, cost meter, progress lines: nothing of the domain."""
