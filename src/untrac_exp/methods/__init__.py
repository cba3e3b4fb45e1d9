"""Attribution methods, one per module."""
