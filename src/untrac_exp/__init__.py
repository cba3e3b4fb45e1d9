"""Which training corpus made my language model say this?

Experiments on attributing a language model's outputs to its training corpora: by unlearning
(UnTrac, UnTrac-Inv), by gradient and Hessian baselines, and by retraining as ground truth.
"""

__version__ = "0.1.0"
