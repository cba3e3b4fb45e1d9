"""`untrac_exp.trace`: the Python interface of `+experiment=trace`."""

import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pandas as pd
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException
from hydra.utils import instantiate
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from untrac_exp.config.checks import check
from untrac_exp.config.errors import not_text, one_line
from untrac_exp.config.schema import config_dir
from untrac_exp.data.base import Corpus, Row, TestSet
from untrac_exp.data.rows import Columns, parse, subset_of
from untrac_exp.job import encode_data, prepare_process, run_method
from untrac_exp.models.in_memory import borrowed
from untrac_exp.runtime.cost import Meter
from untrac_exp.statistics.evidence import evidence
from untrac_exp.statistics.intervals import with_intervals
from untrac_exp.store import Store

Texts = str | Path | Sequence[str | Path | Mapping[str, Any]]
"""A path, glob or folder; or a list of texts, of paths or of rows."""


def trace(
    model: str | Path | PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase | None,
    corpora: Mapping[str, Texts],
    testsets: Mapping[str, Texts],
    method: str = "ngram",
    **settings: Any,
) -> pd.DataFrame:
    """Estimate the influence of each training corpus on a model's loss on given texts.

    Runs the same code as `python -m untrac_exp +experiment=trace` and returns the same numbers.

    Args:
        model: a folder or hub id, or a model in memory, whose weights are restored on return.
        tokenizer: the model's tokenizer; None loads it from the model's folder or hub id.
        corpora: texts the model was trained on, by name. A `str` or `pathlib.Path` is a path, glob
            or folder, as in `corpora.paths`; a list of `str` are texts; a list of `Path` are paths;
            a list of mappings are rows (`text`, `prompt` and `completion`, `messages`, ...).
        testsets: texts to attribute, in the same forms; rows may have a `subset`.
        method: name of a file in conf/method.
        settings: configuration keys, as in `seed=1` or `**{"optimizer.lr": 1e-4}`.
            `budget="5min"` is a time limit within which the scores are refined on growing samples;
            Ctrl-C returns the scores so far. The default is 10 minutes on a CPU and no limit on a
            GPU; None reads the whole sample. `store="folder"` keeps intermediate results so that an
            interrupted run of a model on disk can resume.

    Returns:
        A row per corpus, test set and subset, with columns corpus, testset, subset, influence,
        ci_low and ci_high in nats per token. Influence is positive if the corpus lowers the loss
        on the subset. `.attrs` has `"ranking"`, `"examples"` and `"shared"` (as ranking.csv,
        examples.csv and duplicates.csv) and `"warnings"`, `"cost"` and `"rounds"` (as in
        metrics.json).

    Raises:
        ValueError: invalid input; the message names the argument or file and the remedy.
    """
    with ExitStack() as stack:
        cfg = _configuration(model, method, settings)
        if not {"store", "outputs"} & settings.keys():
            cfg.store = stack.enter_context(tempfile.TemporaryDirectory(prefix="untrac-"))
        prepare_process(cfg)
        if isinstance(model, PreTrainedModel):
            if tokenizer is None:
                raise ValueError("tokenizer=None: give the tokenizer of a model in memory")
            source = stack.enter_context(borrowed(model, tokenizer, cfg.model))
        else:
            source = instantiate(cfg.model)
        data = encode_data(
            cfg,
            _load("corpora", cfg.corpora, corpora, _corpus),
            _load("testsets", cfg.testset, testsets, _testset),
            source,
            Store(cfg.store, cfg.force, method=method),
            tokenizer,
        )
        meter = Meter()
        answered = run_method(instantiate(cfg.method), cfg, data, meter)
        influences = answered.answer
        tables, warnings = evidence(influences, answered.places, data)
    scores = with_intervals(influences)
    scores.attrs["warnings"] = [*influences.warnings, *warnings]
    scores.attrs["cost"] = meter.as_dict()
    scores.attrs["rounds"] = answered.rounds
    scores.attrs |= tables
    return scores


def _configuration(model: Any, method: str, settings: Mapping[str, Any]) -> DictConfig:
    """Compose the configuration of `+experiment=trace` with overrides."""
    if isinstance(model, str | Path):
        path = str(model)
    elif isinstance(model, PreTrainedModel):
        path = "in memory"
    else:
        raise ValueError(
            f"model is a {type(model).__name__}; give a path or a PreTrainedModel of transformers "
            "(of a PEFT model, what merge_and_unload() returns)"
        )
    given = {"method": method, "model.path": path, "corpora.paths": {}, "testset.paths": {}}
    overrides = [f"{key}={_grammar(value)}" for key, value in {**given, **settings}.items()]
    outer = GlobalHydra.instance().hydra  # the caller may be a Hydra application
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(config_dir()), version_base="1.3"):
            cfg = compose("config", ["+experiment=trace", "hydra.mode=RUN", *overrides])
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(one_line(error)) from error
    finally:
        GlobalHydra.instance().hydra = outer
    check(cfg)
    return cfg


def _grammar(value: Any) -> str:
    """Format a value in the grammar of Hydra's overrides."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Mapping):
        named = (f"{_escaped(str(key))}:{_grammar(item)}" for key, item in value.items())
        return "{" + ",".join(named) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_grammar, value)) + "]"
    if isinstance(value, int | float):
        return repr(value)
    return QuotedString(str(value), Quote.single).with_quotes()


def _escaped(key: str) -> str:
    """Escape the characters that end or structure an unquoted key in the grammar."""
    return re.sub(r"[\\()\[\]{}:=, \t]", r"\\\g<0>", key)


def _load(
    argument: str,
    settings: DictConfig,
    given: Mapping[str, Texts],
    build: Callable[[str, list[tuple[Row, str]]], Any],
) -> list[Any]:
    """Load corpora or test sets in the order of `given`; the configured source reads paths."""
    paths = _paths(argument, given)
    found: dict[str, Any] = {}
    if paths:
        try:
            found = {one.name: one for one in instantiate(settings, paths=paths)}
        except HydraException as error:
            raise ValueError(one_line(error)) from error
    columns = Columns(
        settings.text_column,
        settings.input_column,
        settings.target_column,
        settings.messages_column,
        settings.get("subset_column"),
        settings.chat_template,
    )
    for name in given.keys() - paths.keys():
        found[name] = build(name, _rows(f"{argument}['{name}']", given[name], columns))
    return [found[name] for name in given]


def _corpus(name: str, rows: list[tuple[Row, str]]) -> Corpus:
    return Corpus(name, [row for row, _ in rows])


def _testset(name: str, rows: list[tuple[Row, str]]) -> TestSet:
    subsets: dict[str, list[Row]] = {}
    for row, subset in rows:
        subsets.setdefault(subset, []).append(row)
    return TestSet(name, subsets)


def _paths(argument: str, given: Mapping[str, Texts]) -> dict[str, list[str]]:
    """Return the entries that are given by path."""
    if not isinstance(given, Mapping) or not given:
        raise ValueError(
            f"{argument} is empty or not a mapping; give {{name: path or list of texts}}"
        )
    paths = {}
    for name, texts in given.items():
        if not isinstance(name, str):
            raise ValueError(f"{argument}: {not_text(name)}")
        if isinstance(texts, str | Path):
            paths[name] = [str(texts)]
        elif isinstance(texts, Sequence) and texts and isinstance(texts[0], Path):
            paths[name] = [str(path) for path in texts]
    return paths


def _rows(where: str, texts: Any, columns: Columns) -> list[tuple[Row, str]]:
    """Parse texts and mappings into (row, subset), skipping rows with no scored text."""
    if not isinstance(texts, Sequence):
        raise ValueError(f"{where} is a {type(texts).__name__}; give a path or a list")
    found = []
    for i, text in enumerate(texts):
        place = f"{where}, item {i + 1}"
        if not isinstance(text, str | Mapping):
            raise ValueError(f"{place} is a {type(text).__name__}; give text or a mapping")
        record = {columns.text: text} if isinstance(text, str) else text
        if row := parse(place, record, columns):
            found.append((row, subset_of(place, record, columns) or "all"))
    if not found:
        raise ValueError(f"{where} has no text; add at least one")
    return found
