"""The data of a job as tokens: corpora, which models are trained on, and test subsets."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from hydra.utils import instantiate
from omegaconf import DictConfig
from transformers import PreTrainedTokenizerBase

from untrac_exp.config.errors import did_you_mean
from untrac_exp.config.schema import plain
from untrac_exp.data.base import Corpus, Subset, TestSet
from untrac_exp.data.duplicates import shared_texts
from untrac_exp.data.encoding import Encoded
from untrac_exp.data.fingerprint import testset_fingerprint
from untrac_exp.data.prepare import check_names, encode_corpus, encode_once
from untrac_exp.data.sampling import sample_rows
from untrac_exp.models.source import ModelSource
from untrac_exp.stages.pretraining import PretrainingSettings
from untrac_exp.stages.training import Training
from untrac_exp.store import Store

_CHARS_PER_TOKEN = 4
"""Approximate; rows of a sample are cut to a window of this many characters per token."""


@dataclass(frozen=True)
class Inputs:
    """Tokenized corpora and test sets, and the training of models on the corpora.

    Attributes:
        training: corpora, tokenizer and settings of the training.
        subsets: tokens of each test subset.
        corpora: the corpora before tokenization, or the samples drawn of them.
        testsets: the test sets before tokenization.
        key: identifies the data and, for a checkpoint, its weights.
        on_curves: as in `methods.base.Subject`.
        candidates: texts that no model is trained on, and their tokens by name.
    """

    training: Training
    subsets: Mapping[Subset, Encoded]
    corpora: Sequence[Corpus]
    testsets: Sequence[TestSet]
    key: Mapping[str, Any]
    on_curves: Callable[[str, pd.DataFrame, pd.DataFrame], None] = lambda *_: None
    candidates: Sequence[Corpus] = ()
    candidate_tokens: Mapping[str, Encoded] = field(default_factory=dict)

    @cached_property
    def already_there(self) -> dict[str, dict[str, float]]:
        """For each candidate the corpora that have texts of it, and which share of them."""
        if not self.candidates:
            return {}  # without reading the corpora
        corpora = {of.name: (row.input + row.target for row in of.rows) for of in self.corpora}
        texts: dict[Hashable, list[str]] = {
            of.name: [row.input + row.target for row in of.rows] for of in self.candidates
        }
        found = shared_texts(corpora, texts).groupby(["subset", "corpus"], sort=False).size()
        shares: dict[str, dict[str, float]] = {of.name: {} for of in self.candidates}
        for candidate, corpus, n in found.reset_index().itertuples(index=False):
            shares[candidate][corpus] = n / len(texts[candidate])
        return shares

    @cached_property
    def duplicates(self) -> pd.DataFrame:
        """Test texts that occur in a corpus: the columns of `shared_texts`, and testset."""
        corpora = {
            corpus.name: (row.input + row.target for row in corpus.rows) for corpus in self.corpora
        }
        tests: dict[Hashable, list[str]] = {
            Subset(testset.name, name): [row.target for row in rows]
            for testset in self.testsets
            for name, rows in testset.subsets.items()
        }
        table = shared_texts(corpora, tests)
        subsets = table.pop("subset")
        table["testset"] = [subset.testset for subset in subsets]
        table["subset"] = [subset.subset for subset in subsets]
        return table


def encode_inputs(
    cfg: DictConfig,
    corpora: Sequence[Corpus],
    testsets: Sequence[TestSet],
    source: ModelSource,
    store: Store,
    tokenizer: PreTrainedTokenizerBase | None = None,
    candidates: Sequence[Corpus] = (),
) -> Inputs:
    """Tokenize corpora and test sets, or take the tokens from the store.

    If nothing is trained (`pretraining.steps=0`), `n_per_corpus` rows, or rows with
    `n_tokens_per_corpus` tokens, are drawn first, so that no corpus is read in full.

    Args:
        cfg: the job's configuration, with the sizes, the training and the trainer.
        corpora: the corpora, in the order of the mixture.
        testsets: the test sets.
        source: gives the tokenizer and the lengths of sequences.
        store: keeps tokens and tokenizer.
        tokenizer: replaces the tokenizer of `source`.
        candidates: further texts, which are tokenized as corpora are and not trained on.

    Raises:
        ValueError: the data are invalid.
    """
    settings: PretrainingSettings = instantiate(cfg.pretraining)
    max_sequences = cfg.max_sequences or {}
    check_names([*corpora, *candidates], testsets)
    if source.block_size < 2:
        raise ValueError(f"model.block_size={source.block_size} must be at least 2")
    names = [corpus.name for corpus in corpora]
    for name in max_sequences:
        if name not in names:
            raise ValueError(f"max_sequences.{name}: no such corpus{did_you_mean(name, names)}")
    untrained = settings.steps == 0
    window = _CHARS_PER_TOKEN * source.block_size
    n_rows, n_tokens = None, None
    if untrained:
        n_rows, n_tokens = cfg.n_per_corpus, cfg.n_tokens_per_corpus
    if n_rows is not None or n_tokens is not None:
        corpora, candidates = (
            [sample_rows(corpus, n_rows, cfg.seed, window, n_tokens) for corpus in of]
            for of in (corpora, candidates)
        )
    if tokenizer is None:
        tokenizer = source.tokenizer(corpora, store)
    folders: dict[str, Path] = {}
    for corpus in [*corpora, *candidates]:
        folders[corpus.name] = encode_corpus(
            corpus,
            tokenizer,
            block_size=source.block_size,
            seq2seq=source.seq2seq,
            max_sequences=max_sequences.get(corpus.name),
            store=store,
            pack=not untrained,
            end_of_input=source.end_of_input,
            n_tokens=n_tokens,
            seed=cfg.seed,
        )
    subsets = {
        Subset(testset.name, name): encode_once(
            rows,
            what=f"test set '{testset.name}', subset '{name}'",
            store=store,
            tokenizer=tokenizer,
            block_size=source.block_size,
            seq2seq=source.seq2seq,
            end_of_input=source.end_of_input,
        )
        for testset in testsets
        for name, rows in testset.subsets.items()
    }
    key: dict[str, Any] = {
        # in their order, candidates last
        "corpora": [(name, folder.name) for name, folder in folders.items()],
        **({"candidates": len(candidates)} if candidates else {}),
        "testsets": [testset_fingerprint(testset) for testset in testsets],
    }
    if "weights" in (model := source.key()):  # the configured path does not identify them
        key["weights"] = model["weights"]
    added = {of.name: Encoded.load(folders.pop(of.name)) for of in candidates}
    training = Training(
        source,
        tokenizer,
        folders,
        settings,
        plain(cfg.pretraining),
        instantiate(cfg.trainer),
        store,
    )
    return Inputs(
        training, subsets, corpora, testsets, key,
        candidates=candidates, candidate_tokens=added,
    )  # fmt: skip
