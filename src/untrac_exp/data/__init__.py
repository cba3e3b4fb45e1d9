"""Sources of corpora and test sets, and their encoding as tokens."""
