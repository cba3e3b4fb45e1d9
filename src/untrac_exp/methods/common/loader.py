"""The model of a method, loaded once in each process."""

from collections.abc import Callable
from uuid import uuid4

from transformers import PreTrainedModel

_loaded: dict[str, PreTrainedModel] = {}
"""The model of the last loader of this process, by its token."""


class Loader:
    """Loads a model once in each process, also when it is pickled anew for each task."""

    def __init__(self, load: Callable[[], PreTrainedModel]) -> None:
        self.load, self.token = load, uuid4().hex

    def __call__(self) -> PreTrainedModel:
        if self.token not in _loaded:
            _loaded.clear()  # frees the memory of the model before
            _loaded[self.token] = self.load()
        return _loaded[self.token]
