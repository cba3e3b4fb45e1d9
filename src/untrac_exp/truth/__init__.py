"""Ground truths: models retrained without some of the corpora."""
