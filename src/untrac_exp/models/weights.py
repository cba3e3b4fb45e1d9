"""The weights of θ0 that a method changes or differentiates with respect to."""

from collections.abc import Callable

from torch import nn
from transformers import PreTrainedModel

ALL, EMBEDDINGS = "all", "embeddings"


def parameters(model: nn.Module) -> list[nn.Parameter]:
    """Return the trainable parameters, P numbers in all."""
    return [p for p in model.parameters() if p.requires_grad]


def select_weights(model: PreTrainedModel, weights: str) -> None:
    """Freeze all parameters of `model` but the chosen ones, in place.

    Args:
        model: the model at θ0.
        weights: "all" leaves the model as it is; "embeddings" chooses the token embeddings, of the
            input and of the output, tied or not.

    Raises:
        ValueError: `weights` is unknown, or the embeddings are frozen already.
    """
    if weights == ALL:
        return
    if weights != EMBEDDINGS:
        raise ValueError(f"method.weights={weights}: choose {ALL} or {EMBEDDINGS}")
    ends: list[Callable[[], nn.Module | None]] = [
        model.get_input_embeddings,
        model.get_output_embeddings,
    ]
    chosen = {layer.weight for end in ends if (layer := end()) is not None}
    if not all(weight.requires_grad for weight in chosen):
        raise ValueError(
            "method.weights=embeddings: the embeddings are frozen, as by model.adapter=lora; set "
            "method.weights=all or model.adapter=null"
        )
    for parameter in model.parameters():
        parameter.requires_grad_(parameter in chosen)
