"""Which training corpus made my language model say this?

Experiments on attributing a language model's outputs to its training corpora: by unlearning
(UnTrac, UnTrac-Inv), by gradient and Hessian baselines, and by retraining as ground truth.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from untrac_exp.tracing import trace

__version__ = "0.1.0"
__all__ = ["__version__", "trace"]


def __getattr__(name: str) -> Any:
    """Import `trace` on first access, since torch and transformers take seconds to import."""
    if name == "trace":
        from untrac_exp.tracing import trace

        return trace
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
