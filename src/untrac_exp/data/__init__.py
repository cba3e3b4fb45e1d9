"""Corpora and test sets, from rows to tokens.

A source returns named corpora and test sets of rows; `sampling` draws of them, `prepare` tokenizes
and stores them, and training, methods and evaluation read the `Encoded` tokens.
"""
