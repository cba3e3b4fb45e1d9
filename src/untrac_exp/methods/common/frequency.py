r"""The Hessian of the token embeddings, approximated by token frequencies.

For a softmax over biases alone, the Hessian of the loss is
:math:`\operatorname{diag}(p) - p p^\top` with p the frequencies of the tokens, and
:math:`\operatorname{diag}(1 / p)` is a generalized inverse of it. For an embedding of V tokens
K-FAC has the same factor (Martens and Grosse, "Optimizing Neural Networks with Kronecker-factored
Approximate Curvature", ICML 2015); its other factor, of the columns, is taken as the identity here.
"""

import torch
from torch import Tensor

from untrac_exp.data.encoding import IGNORED
from untrac_exp.methods.base import Subject
from untrac_exp.models.weights import EMBEDDINGS, parameters


def inverse_frequency(subject: Subject, damping: float) -> Tensor:
    """Return the diagonal (P,) of the approximate inverse Hessian of the token embeddings.

    The entries of a token are 1 / (f + `damping` / V), with f its frequency in `subject.trained_on`
    and V the size of the vocabulary; those of other weights are 0.
    """
    model = subject.model
    ends = (model.get_input_embeddings(), model.get_output_embeddings())
    embeddings = [end.weight for end in ends if end is not None]
    counts = torch.zeros(max(len(weight) for weight in embeddings))
    for data in subject.trained_on.values():
        read = torch.arange(data.input_ids.shape[1]) < data.lengths[:, None]
        counts += torch.bincount(data.input_ids[read], minlength=len(counts))
        if data.seq2seq:
            counts += torch.bincount(data.labels[data.labels != IGNORED], minlength=len(counts))
    inverse = 1 / (counts / counts.sum() + damping / len(counts))
    return torch.cat(
        [
            inverse[: len(weight), None].expand(weight.shape).flatten()
            if any(weight is embedding for embedding in embeddings)
            else torch.zeros(weight.numel())
            for weight in parameters(model)
        ]
    )


def check_embeddings(weights: str, damping: float) -> None:
    """Raise a ValueError for settings that `inverse_frequency` cannot use."""
    if weights != EMBEDDINGS:
        raise ValueError(f"method.weights={weights}: this method needs {EMBEDDINGS}")
    if damping <= 0:
        raise ValueError(f"method.damping={damping} must be positive")
