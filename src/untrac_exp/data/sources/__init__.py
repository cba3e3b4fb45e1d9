"""Where corpora and test sets come from, one module per source."""
