"""The configuration: its schema, its checks and one-line error messages."""
