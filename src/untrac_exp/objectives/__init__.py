"""What unlearning ascends: the forget-set loss alone, anchored on a retain set, or bounded.

An objective is prepared once at θ0 and returns the loss of a step, whose equation is in the
module's docstring.
"""
