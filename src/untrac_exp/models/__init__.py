"""Models: from scratch, from a checkpoint, with an adapter.

A `ModelSource` gives a tokenizer and initial weights. `loss` is the one definition of a loss: nats
per scored token, for causal and encoder-decoder models.
"""
