"""`untrac_exp.trace`: the Python interface of `+experiment=trace`."""

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pandas as pd
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from untrac_exp.config.checks import check
from untrac_exp.config.errors import one_line
from untrac_exp.config.schema import config_dir
from untrac_exp.data.sources import local
from untrac_exp.data.sources.local import Texts
from untrac_exp.job import prepare_process, run_method
from untrac_exp.methods.common.budget import Round, budget_s
from untrac_exp.stages.inputs import encode_inputs
from untrac_exp.statistics.evidence import tables_of
from untrac_exp.store import Store

Data = Mapping[str, str | Path | Sequence[str | Path | Mapping[str, Any]]]
"""By name: a path, glob or folder; or a list of texts, of paths or of rows."""


def trace(
    model: str | Path | PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase | None,
    corpora: Data,
    testsets: Data,
    method: str = "ngram",
    candidates: Data | None = None,
    **settings: Any,
) -> pd.DataFrame:
    """Estimate the influence of each training corpus on a model's loss on given texts.

    Runs the same code as `python -m untrac_exp +experiment=trace` and returns the same numbers.

    Args:
        model: a folder or hub id; or a model in memory, of which a copy is saved to a temporary
            folder and read from there, in its dtype.
        tokenizer: the model's tokenizer; None loads it from the model's folder or hub id.
        corpora: texts the model was trained on, by name. A `str` or `pathlib.Path` is a path, glob
            or folder, as in `corpora.paths`; a list of `str` are texts; a list of `Path` are paths;
            a list of mappings are rows (`text`, `prompt` and `completion`, `messages`, ...).
        testsets: texts to attribute, in the same forms; rows may have a `subset`.
        method: name of a file in conf/method.
        candidates: texts the model was not trained on, in the same forms: what would adding them
            do?
        settings: configuration keys, as in `seed=1` or `**{"optimizer.lr": 1e-4}`.
            `budget="5min"` is a time limit within which the scores are refined on growing samples;
            Ctrl-C returns the scores so far. The default is 10 minutes on a CPU and no limit on a
            GPU; None reads the whole sample. `store="folder"` keeps intermediate results so that an
            interrupted run can resume.

    Returns:
        A row per corpus, test set and subset, with columns corpus, testset, subset, influence,
        ci_low and ci_high in nats per token. Influence is positive if the corpus lowers the loss
        on the subset. `.attrs` has `"ranking"`, `"examples"`, `"duplicates"` and `"tokens"`
        (as ranking.csv, examples.csv, duplicates.csv and tokens.csv), `"candidates"` if there are
        any (candidates.csv), and `"warnings"`, `"cost"`,
        `"rounds"` and `"theta0_loss"` (as in metrics.json).

    Raises:
        ValueError: invalid input; the message names the argument or file and the remedy.
    """
    with ExitStack() as stack:
        if isinstance(model, PreTrainedModel):
            if tokenizer is None:
                raise ValueError("tokenizer=None: give the tokenizer of a model in memory")
            settings = {"model.dtype": str(model.dtype).removeprefix("torch."), **settings}
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="untrac-"))
            model.save_pretrained(folder)
            model = folder
        elif not isinstance(model, str | Path):
            raise ValueError(
                f"model is a {type(model).__name__}; give a path or a PreTrainedModel of "
                "transformers (of a PEFT model, what merge_and_unload() returns)"
            )
        cfg = _configuration(str(model), method, settings)
        if not {"store", "outputs"} & settings.keys():
            cfg.store = stack.enter_context(tempfile.TemporaryDirectory(prefix="untrac-"))
        prepare_process(cfg.threads)
        data = encode_inputs(
            cfg,
            local.corpora(**_data(corpora, cfg.corpora)),
            local.testsets(**_data(testsets, cfg.testset)),
            instantiate(cfg.model),
            Store(cfg.store, cfg.force, method=method),
            tokenizer,
            local.corpora(**_data(candidates, cfg.corpora), group="candidates")
            if candidates
            else [],
        )
        left_s = budget_s(cfg.budget, data.training.trainer.device)
        rounds: list[Round] = []
        try:
            for attributed in run_method(instantiate(cfg.method), cfg, data, left_s):
                rounds.append(attributed)
        except (KeyboardInterrupt, SystemExit):  # Lightning answers Ctrl-C by sys.exit(1)
            if not rounds:
                raise
        attributed = rounds[-1]
        tables, warnings = tables_of(attributed, data, cfg.tokens, has_evidence=True)
    scores = tables.pop("scores")
    scores.attrs["warnings"] = warnings
    scores.attrs["cost"] = attributed.cost.as_dict()
    scores.attrs["rounds"] = attributed.rounds
    scores.attrs["theta0_loss"] = attributed.theta0
    scores.attrs |= tables
    return scores


def _configuration(path: str, method: str, settings: Mapping[str, Any]) -> DictConfig:
    """Compose the configuration of `+experiment=trace` with overrides."""
    given = {"model.path": path, "corpora.paths": {}, "testset.paths": {}, **settings}
    groups = {key: value for key, value in given.items() if (config_dir() / key).is_dir()}
    choices = [f"{group}={'null' if x is None else x}" for group, x in groups.items()]
    outer = GlobalHydra.instance().hydra  # the caller may be a Hydra application
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(config_dir()), version_base="1.3"):
            cfg = compose("config", ["+experiment=trace", f"method={method}", *choices])
        for key, value in given.items():
            if key not in groups:
                OmegaConf.update(cfg, key.lstrip("+"), value, force_add=key.startswith("+"))
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(one_line(error)) from error
    finally:
        GlobalHydra.instance().hydra = outer
    check(cfg)
    return cfg


def _data(given: Any, settings: DictConfig) -> dict[str, Any]:
    """Return the arguments of `local.corpora` or `local.testsets`.

    Lists of texts or rows are marked, since in a configuration a list of `str` would be paths.
    """
    paths = given
    if isinstance(given, Mapping):
        paths = {name: _marked(texts) for name, texts in given.items()}
    return {
        **{str(name): settings[name] for name in settings if name != "_target_"},
        "paths": paths,
    }


def _marked(texts: Any) -> Any:
    is_list = isinstance(texts, list | tuple)
    return Texts(texts) if is_list and not (texts and isinstance(texts[0], Path)) else texts
