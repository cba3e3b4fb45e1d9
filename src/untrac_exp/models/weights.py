"""The weights of a model that are trained, changed or differentiated with respect to."""

from torch import nn


def parameters(model: nn.Module) -> list[nn.Parameter]:
    """Return the trainable parameters, P numbers in all."""
    return [p for p in model.parameters() if p.requires_grad]
