"""Sources of corpora and test sets, and their encoding as tokens."""

from untrac_exp.data.base import Corpus, Row, TestSet
from untrac_exp.data.encoding import Encoded

__all__ = ["Corpus", "Encoded", "Row", "TestSet"]
