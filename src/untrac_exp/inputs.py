"""Inputs of a job: tokenized corpora and test sets, the training of its models, and its key."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
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

_IGNORED_KEYS = ("outputs", "store", "force", "logger", "threads", "plan", "plan_flops_per_s")
"""Keys that do not affect results."""

_IGNORED_IF_NULL = ("n_tokens_per_corpus", "budget")
"""Keys left out of the job key if null, so that results from before they existed stay valid."""

_COVERED_BY_THETA0 = (
    *("path", "revision", "safetensors_only", "trust_remote_code"),
    *("block_size", "gradient_checkpointing", "n_parameters"),
)
"""Model keys that determine only weights or tokens, which store keys identify by content."""

_RESULT_MODULES = ("agreement", "bootstrap", "data.duplicates", "ranking")
"""Modules that compute a job's result files from the output of its method."""

_CHARS_PER_TOKEN = 4
"""Approximate; rows of a sample are cut to a window of this many characters per token."""


@dataclass(frozen=True)
class Data:
    """Tokenized corpora and test sets, and the training of models on the corpora.

    Attributes:
        training: corpora, tokenizer and settings of the training.
        subsets: tokens of each test subset.
        corpora: the corpora before tokenization, or the samples drawn of them.
        testsets: the test sets before tokenization.
        key: identifies the data and, for a checkpoint, its weights.
        unsampled: returns tokens of rows outside the samples, if `corpora` are samples of rows.
    """

    training: Training
    subsets: Mapping[Subset, Encoded]
    corpora: Sequence[Corpus]
    testsets: Sequence[TestSet]
    key: Mapping[str, Any]
    unsampled: Callable[[], Mapping[str, Encoded]] = dict

    def further(self, n: int | None, seed: int) -> dict[str, Encoded]:
        """Return at most `n` sequences of each corpus that are not in its sample of `n`."""
        found = dict(self.unsampled())
        for name, tokens in self.training.data.items():
            if (rest := tokens.beyond(n, seed)) is not None:
                found[name] = rest
        return found


def prepare_process(cfg: DictConfig, workers: int = 1) -> None:
    """Set the number of threads of this process and silence libraries.

    workers: number of processes that share the cores.
    """
    quiet()
    threads = threads_of_each(cfg.trainer, cfg.threads, workers)
    if threads is not None:
        torch.set_num_threads(threads)


def load_data(cfg: DictConfig, store: Store) -> Data:
    """Load and tokenize the configured corpora and test sets."""
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
    """Tokenize corpora and test sets, or take the tokens from the store.

    If nothing is trained (`pretraining.steps=0`), `n_per_corpus` rows, or rows with
    `n_tokens_per_corpus` tokens, are drawn first, so that no corpus is read in full.

    Args:
        tokenizer: replaces the tokenizer of `source`.

    Raises:
        ValueError: a truth is configured but nothing is trained, or the data are invalid.
    """
    check_names(corpora, testsets)
    settings: Pretraining = instantiate(cfg.pretraining)
    untrained = settings.steps == 0
    if untrained and cfg.truth:
        raise ValueError("truth: pretraining.steps=0 trains no model to compare; use truth=none")
    wholes, window = corpora, _CHARS_PER_TOKEN * source.block_size
    most, n_tokens = (cfg.n_per_corpus, cfg.n_tokens_per_corpus) if untrained else (None, None)
    if n_tokens is not None:
        corpora = [drawn(corpus, n_tokens, most, cfg.seed, window) for corpus in wholes]
    elif most is not None:
        corpora = [sampled(corpus, most, cfg.seed, window) for corpus in wholes]
    if tokenizer is None:
        tokenizer = source.tokenizer(corpora, store)
    size, seq2seq = source.block_size, source.seq2seq
    folders, limits = {}, cfg.max_sequences or {}
    for corpus in corpora:
        limit = limits.get(corpus.name)
        folder = encode_corpus(
            corpus,
            tokenizer,
            block_size=size,
            seq2seq=seq2seq,
            max_sequences=limit,
            store=store,
            pack=not untrained,
        )
        if n_tokens is not None:
            folder = token_sample(folder, n_tokens, cfg.seed, store)
        folders[corpus.name] = folder
    training = Training(
        source=source,
        tokenizer=tokenizer,
        corpora=folders,
        settings=settings,
        settings_key=plain(cfg.pretraining),
        trainer=instantiate(cfg.trainer),
        store=store,
    )
    one_each = partial(encode, tokenizer=tokenizer, block_size=size, seq2seq=seq2seq)
    subsets = {
        Subset(testset.name, name): one_each(
            rows, what=f"test set '{testset.name}', subset '{name}'"
        )
        for testset in testsets
        for name, rows in testset.subsets.items()
    }
    key: dict[str, Any] = {
        "corpora": {name: folder.name for name, folder in folders.items()},
        "testsets": [testset_fingerprint(testset) for testset in testsets],
    }
    if "weights" in (model := source.key()):  # the configured path does not identify them
        key["weights"] = model["weights"]

    def unsampled() -> dict[str, Encoded]:
        found = {}
        for whole, sample in [] if wholes is corpora else zip(wholes, corpora, strict=True):
            there = list(sample.rows)
            if rows := further(whole, most or len(there), cfg.seed, window, there):
                found[whole.name] = one_each(rows, what=f"corpus '{whole.name}'", skip_empty=True)
        return found

    return Data(training, subsets, corpora, testsets, key, unsampled)


def job_key(cfg: DictConfig, data: Data) -> dict[str, Any]:
    """Return everything that a job's results depend on."""
    return {"config": _settings(cfg), "data": data.key, "code": job_code(cfg)}


def job_code(cfg: DictConfig) -> str:
    """Return the hash of the code that a job runs."""
    answers = [f"untrac_exp.{module}" for module in _RESULT_MODULES]
    answers += [path.rpartition(".")[0] for path in cfg.statistics.values()]
    return code_fingerprint([Training.__module__, *answers, *targets(_settings(cfg))])


def part_key(cfg: DictConfig, training: Training, theta0: ModelSpec) -> dict[str, Any]:
    """Return what the parts of a method's result depend on, besides their data and the seed."""
    method, model = plain(cfg.method), plain(cfg.model)
    settings = {name: value for name, value in model.items() if name not in _COVERED_BY_THETA0}
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
        if key not in _IGNORED_KEYS and not (value is None and key in _IGNORED_IF_NULL)
    }
    settings["trainer"].pop("workers", None)
    return settings


def plain(cfg: DictConfig) -> dict[str, Any]:
    """Convert a node to plain Python values, with interpolations resolved."""
    return OmegaConf.to_container(cfg, resolve=True)  # type: ignore[return-value]


def is_finished(outdir: Path, key: str) -> bool:
    """Return whether `outdir` has the results of the job with this key (a fingerprint)."""
    exists = (outdir / "metrics.json").exists()
    return exists and files.read_metrics(outdir).get("fingerprint") == key
