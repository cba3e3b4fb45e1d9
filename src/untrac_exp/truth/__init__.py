"""Ground truths: models trained without some corpora, and their losses on the test sets.

`models` has what all truths share. A truth says which models it needs and what the influence of a
corpus is, given their losses.
"""
