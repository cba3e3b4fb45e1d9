"""The model of a method, loaded once in each process."""

from collections.abc import Callable
from functools import cached_property
from typing import Any

from transformers import PreTrainedModel


class Loader:
    """Loads a model once in each process; pickled without it."""

    def __init__(self, load: Callable[[], PreTrainedModel]) -> None:
        self.load = load

    @cached_property
    def model(self) -> PreTrainedModel:
        return self.load()

    def __call__(self) -> PreTrainedModel:
        return self.model

    def __reduce__(self) -> tuple[Any, ...]:
        return Loader, (self.load,)
