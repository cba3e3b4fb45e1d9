"""Forget-set and retain-set loss during long unlearning, by objective; no method is scored.

    python -m experiments.stopping.retention [objective=fisher objective.weight=100 ...]

Miniworld at mini scale: one corpus is unlearned for twenty epochs, twenty times the default. Prints
the rise of the forget-set loss and of the loss on the other corpora, in nats per token; the latter
on sequences that the objectives do not use. With overrides only that objective, otherwise all.
"""

import logging
import sys
from tempfile import TemporaryDirectory

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig, open_dict

from untrac_exp.config.schema import config_dir
from untrac_exp.data.encoding import Encoded
from untrac_exp.job import load, make_subject, prepare_process
from untrac_exp.methods.base import Subject
from untrac_exp.objectives.base import Unlearned
from untrac_exp.runtime.cost import Meter
from untrac_exp.stages.unlearning import Stopping, unlearn
from untrac_exp.store import Store

CORPUS = "encyclopedia"
STEPS = Stopping(epochs=20, evaluations=8)


def theta0(cfg: DictConfig) -> tuple[Subject, Encoded]:
    """The subject of a job, and 256 sequences of the other corpora beside those it samples."""
    data = load(cfg, Store(cfg.store))
    recipe = data.training.model_spec(cfg.train_seed)
    subject = make_subject(cfg, data, recipe, Meter())
    held = {tuple(row) for one in subject.corpora.values() for row in one.input_ids.tolist()}
    others = Encoded.concatenate(
        [one for name, one in data.training.data.items() if name != CORPUS]
    )
    free = [i for i, row in enumerate(others.input_ids.tolist()) if tuple(row) not in held]
    return subject, others.select(torch.tensor(free)).sample(256, seed=0)


def rises(cfg: DictConfig, subject: Subject, kept: Encoded) -> list[tuple[int, float, float]]:
    """(step, own rise, others' rise) on the schedule."""
    own = subject.corpora[CORPUS]
    start = subject.losses(own).mean, subject.losses(kept).mean
    found: list[tuple[int, float, float]] = []

    def observe(step: int) -> bool:
        now = subject.losses(own).mean, subject.losses(kept).mean
        found.append((step, now[0] - start[0], now[1] - start[1]))
        return False

    retain = {name: one for name, one in subject.corpora.items() if name != CORPUS}
    with subject.leaving_theta0() as model:
        step_loss = instantiate(cfg.objective).prepare(
            Unlearned(model, own, retain, subject.max_tokens, subject.seed)
        )
        unlearn(
            model, own, step_loss,
            optimizer=instantiate(cfg.optimizer), batch_size=1, max_tokens=subject.max_tokens,
            stopping=STEPS, seed=subject.seed, trainer=subject.trainer, observe=observe,
        )  # fmt: skip
    return found


def main() -> None:
    """Print a row for each objective."""
    logging.disable(logging.INFO)
    chosen = [sys.argv[1:]] if sys.argv[1:] else [[f"objective={o}"] for o in OBJECTIVES]
    with initialize_config_dir(str(config_dir()), version_base=None), TemporaryDirectory() as store:
        for overrides in chosen:
            cfg = compose("config", [*overrides, f"store={store}", "n_per_corpus=128"])
            with open_dict(cfg):
                prepare_process(cfg.threads)
            found = rises(cfg, *theta0(cfg))
            print(" ".join(overrides))
            for step, own, others in found:
                print(f"  step {step:5d}: own {own:+8.3f}, others {others:+8.3f}", flush=True)


OBJECTIVES = ("ascent", "npo", "kl", "fisher")

if __name__ == "__main__":
    main()
