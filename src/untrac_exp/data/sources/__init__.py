"""Where corpora and test sets come from, one module per source.

A source is a function that returns a list of `Corpus` or of `TestSet`, named by `_target_` in
conf/corpora or conf/testset. `local` reads people's own data.
"""
