"""Which training corpus made my language model say this?

Experiments on attributing a language model's outputs to its training corpora: by unlearning
(UnTrac, UnTrac-Inv), by gradient and Hessian baselines, and by retraining as ground truth.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from untrac_exp.api import trace
    from untrac_exp.report import plot

__version__ = "0.1.0"
__all__ = ["__version__", "plot", "trace"]


def __getattr__(name: str) -> Any:
    """Import `trace` and `plot` on first access, since torch and matplotlib take seconds."""
    if name == "trace":
        from untrac_exp.api import trace

        return trace
    if name == "plot":
        from untrac_exp.report import plot

        return plot
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
