"""What a job works on: corpora and test sets as tokens, the model's training, and the job's key."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from transformers import PreTrainedTokenizerBase

from untrac_exp import result_files as files
from untrac_exp.data.base import Corpus, TestSet
from untrac_exp.data.encoding import Encoded
from untrac_exp.data.fingerprint import testset_fingerprint
from untrac_exp.data.portions import drawn, token_sample
from untrac_exp.data.prepare import check_names, encode, encode_corpus
from untrac_exp.data.sampling import further, sampled
from untrac_exp.methods.base import Subset
from untrac_exp.models.source import ModelSource
from untrac_exp.stages.trainer import quiet
from untrac_exp.store import Store
from untrac_exp.store.code import code_fingerprint, targets
from untrac_exp.training import ModelSpec, Pretraining, Training
from untrac_exp.workers import threads_of_each

_DO_NOT_MATTER = ("outputs", "store", "force", "logger", "threads", "plan", "plan_flops_per_s")
"""Keys that leave the results as they are."""

_ABSENT_WHERE_NULL = ("n_tokens_per_corpus", "budget")
"""Keys that change nothing where they are null: results from before there were any stay valid."""

_LEFT_TO_THETA0 = (
    *("path", "revision", "safetensors_only", "trust_remote_code"),
    *("block_size", "gradient_checkpointing", "n_parameters"),
)
"""Keys of a model that determine its weights or tokens, which are known by their content."""

_ANSWERS = ("agreement", "bootstrap", "data.duplicates", "ranking")
"""Modules that make a job's results of a method's answer."""

_CHARS_PER_TOKEN = 4
"""About as many; a row of a sample is cut to a window of so many characters a token."""


@dataclass(frozen=True)
class Data:
    """Corpora and test sets as tokens, in the context of how models train on them.

    corpora, testsets: what was tokenised. key: what identifies it, and a checkpoint's weights.
    undrawn: tokens of rows that are not in `corpora`, where these are a sample of a corpus' rows.
    """

    training: Training
    subsets: Mapping[Subset, Encoded]
    corpora: Sequence[Corpus]
    testsets: Sequence[TestSet]
    key: Mapping[str, Any]
    undrawn: Callable[[], Mapping[str, Encoded]] = dict

    def further(self, n: int | None, seed: int) -> dict[str, Encoded]:
        """At most `n` sequences of each corpus that has any beyond its sample of `n`."""
        found = dict(self.undrawn())
        for name, tokens in self.training.data.items():
            if (rest := tokens.beyond(n, seed)) is not None:
                found[name] = rest
        return found


def prepare_process(cfg: DictConfig, workers: int = 1) -> None:
    """Set what holds for the whole process: threads, and what libraries say.

    workers: how many processes share the cores.
    """
    quiet()
    threads = threads_of_each(cfg.trainer, cfg.threads, workers)
    if threads is not None:
        torch.set_num_threads(threads)


def load_data(cfg: DictConfig, store: Store) -> Data:
    """The configured corpora, test sets and model."""
    return encode_data(
        cfg, instantiate(cfg.corpora), instantiate(cfg.testset), instantiate(cfg.model), store
    )


def encode_data(
    cfg: DictConfig,
    corpora: Sequence[Corpus],
    testsets: Sequence[TestSet],
    source: ModelSource,
    store: Store,
    tokenizer: PreTrainedTokenizerBase | None = None,
) -> Data:
    """Corpora and test sets as tokens, from the store where it has them.

    tokenizer: another than the source's.

    Where nothing is trained on the corpora (`pretraining.steps=0`), `n_per_corpus` rows, or rows
    that have `n_tokens_per_corpus` tokens, are drawn before anything else is done, so that no
    corpus is read as a whole.
    """
    check_names(corpora, testsets)
    settings: Pretraining = instantiate(cfg.pretraining)
    as_it_is = settings.steps == 0
    if as_it_is and cfg.truth:
        raise ValueError("truth: pretraining.steps=0 trains no model to compare; use truth=none")
    wholes, window = corpora, _CHARS_PER_TOKEN * source.block_size
    most, n_tokens = cfg.n_per_corpus, cfg.n_tokens_per_corpus if as_it_is else None
    if n_tokens is not None:
        corpora = [drawn(corpus, n_tokens, most, cfg.seed, window) for corpus in wholes]
    elif as_it_is and most is not None:
        corpora = [sampled(corpus, most, cfg.seed, window) for corpus in wholes]
    if tokenizer is None:
        tokenizer = source.tokenizer(corpora, store)
    limits = cfg.max_sequences or {}
    folders = {
        corpus.name: encode_corpus(
            corpus,
            tokenizer,
            block_size=source.block_size,
            seq2seq=source.seq2seq,
            max_sequences=limits.get(corpus.name),
            store=store,
            pack=not as_it_is,
        )
        for corpus in corpora
    }
    if n_tokens is not None:
        folders = {
            name: token_sample(folder, n_tokens, cfg.seed, source.seq2seq, store)
            for name, folder in folders.items()
        }
    training = Training(
        source=source,
        tokenizer=tokenizer,
        corpora=folders,
        settings=settings,
        settings_key=plain(cfg.pretraining),
        trainer=instantiate(cfg.trainer),
        store=store,
    )
    subsets = {
        Subset(testset.name, name): encode(
            rows,
            tokenizer,
            source.block_size,
            source.seq2seq,
            f"test set '{testset.name}', subset '{name}'",
        )
        for testset in testsets
        for name, rows in testset.subsets.items()
    }
    key: dict[str, Any] = {
        "corpora": {name: path.name for name, path in training.corpora.items()},
        "testsets": [testset_fingerprint(testset) for testset in testsets],
    }

    def undrawn() -> dict[str, Encoded]:
        found = {}
        if as_it_is and (most, n_tokens) != (None, None):
            for whole, sample in zip(wholes, corpora, strict=True):
                there = list(sample.rows)
                rows = further(whole, most or len(there), cfg.seed, window, there)
                if rows:
                    what = f"corpus '{whole.name}'"
                    found[whole.name] = encode(
                        rows, tokenizer, source.block_size, source.seq2seq, what, skip_empty=True
                    )
        return found

    if "weights" in (model := source.key()):  # its path, in the configuration, does not tell them
        key["weights"] = model["weights"]
    return Data(training, subsets, corpora, testsets, key, undrawn)


def job_key(cfg: DictConfig, data: Data) -> dict[str, Any]:
    """All that a job's results depend on."""
    return {"config": _settings(cfg), "data": data.key, "code": job_code(cfg)}


def job_code(cfg: DictConfig) -> str:
    """The hash of the code that a job runs."""
    answers = [f"untrac_exp.{module}" for module in _ANSWERS]
    answers += [path.rpartition(".")[0] for path in cfg.statistics.values()]
    return code_fingerprint([Training.__module__, *answers, *targets(_settings(cfg))])


def part_key(cfg: DictConfig, training: Training, theta0: ModelSpec) -> dict[str, Any]:
    """What determines the parts of a method's answer, beside the data they read and the seed."""
    method, model = plain(cfg.method), plain(cfg.model)
    settings = {name: value for name, value in model.items() if name not in _LEFT_TO_THETA0}
    return {
        "theta0": theta0.id,
        "method": method,
        "model": settings,
        "precision": training.trainer.precision,
        **({"compile": True} if training.trainer.compile else {}),
        "code": code_fingerprint([*targets(method), type(training.source).__module__]),
    }


def _settings(cfg: DictConfig) -> dict[str, Any]:
    settings = {
        key: value
        for key, value in plain(cfg).items()
        if key not in _DO_NOT_MATTER and not (value is None and key in _ABSENT_WHERE_NULL)
    }
    settings["trainer"].pop("workers", None)
    return settings


def plain(cfg: DictConfig) -> dict[str, Any]:
    """A node as Python's own values, interpolations resolved."""
    return OmegaConf.to_container(cfg, resolve=True)  # type: ignore[return-value]


def is_finished(outdir: Path, key: str) -> bool:
    """Whether the results of the job with this key are there."""
    return (outdir / "metrics.json").exists() and files.read_metrics(outdir).get(
        "fingerprint"
    ) == key
