"""Models trained on the mixture of corpora: θ0 and the counterfactual models."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from untrac_exp.data.encoding import Encoded
from untrac_exp.data.fingerprint import tokenizer_fingerprint
from untrac_exp.models.source import ModelSource
from untrac_exp.runtime.cost import Meter, reset_peaks
from untrac_exp.stages.pretraining import CHECKPOINTS, PretrainingSettings, pretrain
from untrac_exp.stages.trainer import TrainerSettings
from untrac_exp.store import Artifact, Store, fingerprint
from untrac_exp.store.code import code_fingerprint, targets

Budget = Literal["steps", "epochs"]


@dataclass(frozen=True)
class ModelSpec:
    """Specification of one model of the mixture, which is trained or loaded on first use.

    Attributes:
        key: everything that its artifact depends on.
        source, tokenizer, seed: give the initial weights.
        double: whether weights are float64 (`trainer.precision=64-true`).
        store: keeps the trained model.
        build: trains the model; None for the model of `source` as it is (`pretraining.steps=0`),
            which is not copied to the store.
    """

    key: Mapping[str, Any]
    source: ModelSource
    tokenizer: PreTrainedTokenizerBase
    seed: int
    double: bool
    store: Store
    build: Callable[[Path], None] | None = None

    @property
    def id(self) -> str:
        """Hash of everything that the weights depend on."""
        return fingerprint({**self.key, "checkpoint_every": None})

    def artifacts(self) -> list[Artifact]:
        """Return the store's artifact of this model, if it has one."""
        return [] if self.build is None else [Artifact("model", self.key, self.build)]

    def folder(self) -> Path | None:
        """Return the folder of weights, losses, cost and checkpoints, training it if needed."""
        return next((path for _, path in self.store.get_all(self.artifacts())), None)

    def checkpoints(self) -> list[Path]:
        """Return weight files saved during training, the oldest first."""
        folder = self.folder()
        return [] if folder is None else sorted((folder / CHECKPOINTS).glob("*.safetensors"))

    def load(self, attention: str) -> PreTrainedModel:
        """Load the model on the CPU, in evaluation mode."""
        folder = self.folder()
        if folder is None:
            model = self.source.build(self.tokenizer, self.seed)
            return model.double() if self.double else model
        # float32 even for a half-precision checkpoint: small updates would round to zero
        dtype = torch.float64 if self.double else torch.float32
        return self.source.load(folder / "model", attention, dtype)


@dataclass(frozen=True)
class Training:
    """Everything that determines the models trained on one mixture.

    corpora: folders of tokens by name, in the order of the mixture. settings_key: the configuration
    of `settings` as plain values. loggers: Lightning loggers of θ0's training, by train seed.
    """

    source: ModelSource
    tokenizer: PreTrainedTokenizerBase
    corpora: Mapping[str, Path]
    settings: PretrainingSettings
    settings_key: Mapping[str, Any]
    trainer: TrainerSettings
    store: Store
    loggers: Mapping[int, Any] = field(default_factory=dict)

    @cached_property
    def data(self) -> dict[str, Encoded]:
        """Tokens of every corpus."""
        return {name: Encoded.load(path) for name, path in self.corpora.items()}

    def __getstate__(self) -> dict[str, Any]:
        """Pickle without loggers and tokens; workers load tokens from the store."""
        state = {name: value for name, value in vars(self).items() if name != "data"}
        return state | {"loggers": {}, "_code": self._code}  # the code is hashed once

    @cached_property
    def _code(self) -> str:
        modules = [__name__, type(self.source).__module__]
        return code_fingerprint([*modules, *targets(self.settings_key)])

    def model_spec(
        self, train_seed: int, without: Sequence[str] = (), budget: Budget = "steps"
    ) -> ModelSpec:
        """Return the specification of θ0, or of the model trained without some corpora.

        Args:
            train_seed: seed of the initial weights and the data order.
            without: names of the corpora left out; empty for θ0.
            budget: "steps" trains for as many steps as θ0, "epochs" for as many epochs.

        Raises:
            ValueError: no data are left, or the schedule does not fit the steps.
        """
        steps, keep = self.settings.steps, None
        model = {
            "model": self.source.key(),
            "tokenizer": tokenizer_fingerprint(self.tokenizer),
            "train_seed": train_seed,
            **({"attention": kernel} if (kernel := self.source.attention) != "sdpa" else {}),
        }
        double = self.trainer.precision == "64-true"
        if steps == 0:
            assert not without, "a model that is not trained has no counterfactual ones"
            return ModelSpec(model, self.source, self.tokenizer, train_seed, double, self.store)
        if without:
            keep = torch.cat(
                [torch.full((len(data),), name not in without) for name, data in self.data.items()]
            )
            if not keep.any():
                names = ", ".join(f"'{name}'" for name in without)
                raise ValueError(
                    f"truth: nothing is left to train on without {names}; use at least two "
                    "corpora, or truth=none"
                )
            if budget == "epochs":
                steps = max(1, round(steps * int(keep.sum()) / len(keep)))
                self.settings.schedule(0, steps)  # raises where it does not fit so few
        settings = {**self.settings_key, "steps": steps}
        every = settings.pop("checkpoint_every", None)
        key = {
            **model,
            "corpora": [(name, data.fingerprint) for name, data in self.data.items()],
            "without": sorted(without),
            "pretraining": settings,
            "precision": self.trainer.precision,
            "compile": self.trainer.compile,
            **({"micro_batch": size} if (size := self.trainer.loss.micro_batch) else {}),
            "checkpoint_every": None if without else every,
            "code": self._code,
        }

        def build(out: Path) -> None:
            reset_peaks()
            meter = Meter()
            data = Encoded.concatenate(list(self.data.values()))
            n = len(data) if keep is None else int(keep.sum())
            pretrain(
                self.source.build(self.tokenizer, train_seed).to(
                    torch.float64 if double else torch.float32
                ),
                data, replace(self.settings, steps=steps), self.trainer, out,
                seed=train_seed, keep=keep,
                logger=self.loggers.get(train_seed, False) if keep is None else False,
                label=f"pretraining {named(without)}, train seed {train_seed}",
            )  # fmt: skip
            meter.backward(steps * min(self.settings.batch_size, n) * data.read // len(data))
            meter.stop()
            meter.save(out / "cost.json")

        return ModelSpec(key, self.source, self.tokenizer, train_seed, double, self.store, build)


def named(without: Sequence[str]) -> str:
    """Describe a model: "θ0" or "without ..."."""
    return f"without {', '.join(without)}" if without else "θ0"
