"""Where the independent parts of a job are computed, from its configuration."""

from dataclasses import replace

from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig

from untrac_exp.runtime import processes
from untrac_exp.runtime.parallel import Parallel, cuda_devices
from untrac_exp.store.code import package_fingerprint

_ON_ONE_MACHINE = ("joblib", "ray")
"""Launchers that run several jobs of a sweep at once on one machine."""


def parallel_of(cfg: DictConfig) -> Parallel:
    """Return where the parts of a job are computed.

    Raises:
        ValueError: torchrun has started this process, and workers are asked for.
    """
    chosen: Parallel = instantiate(cfg.parallel, _convert_="all")
    if processes.number() > 1:
        if chosen.workers or chosen.backend not in ("none", "loky"):
            raise ValueError(
                "parallel: processes that torchrun starts work on one model; use parallel=none, "
                "or start without torchrun"
            )
        return Parallel()
    choices = HydraConfig.get().runtime.choices if HydraConfig.initialized() else {}
    if chosen.workers is None and choices.get("hydra/launcher") in _ON_ONE_MACHINE:
        return Parallel()
    return replace(
        chosen,
        threads=cfg.threads,
        devices=() if cfg.trainer.accelerator == "cpu" else cuda_devices(),
        prepare="untrac_exp.job:prepare_process",
        code=package_fingerprint(),
    )
