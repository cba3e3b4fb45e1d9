"""One attribution method per module, its equation and source in the docstring.

`base` has what a method gets (`Subject`) and returns (`Influences`). `common/` has what several
methods share: unlearning runs, products of gradients, the inverse Hessian.
"""
