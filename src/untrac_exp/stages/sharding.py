"""Fully sharded data parallelism (FSDP)."""

from collections.abc import Mapping
from typing import cast

import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from untrac_exp.runtime import processes


def strategy() -> ModelParallelStrategy:
    """Return Lightning's strategy over all processes, with single-file checkpoints."""
    return ModelParallelStrategy(
        data_parallel_size=processes.number(),
        tensor_parallel_size=1,
        save_distributed_checkpoint=False,
    )


def shard(model: PreTrainedModel, mesh: DeviceMesh) -> None:
    """Shard the weights over the mesh, in place, with one FSDP unit per layer."""
    for module in list(model.modules()):
        if isinstance(module, GradientCheckpointingLayer):
            fully_shard(module, mesh=mesh)
    fully_shard(model, mesh=mesh)


def whole(model: PreTrainedModel) -> PreTrainedModel:
    """Return the unsharded model, on the CPU if it was sharded.

    A collective call; only rank 0 receives the full weights.
    """
    sharded = isinstance(model, FSDPModule)
    if not sharded:
        return model
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    weights = get_model_state_dict(model, options=options)
    if not processes.is_first():
        return model
    return rebuilt(model, cast(Mapping[str, Tensor], weights))


def rebuilt(model: PreTrainedModel, weights: Mapping[str, Tensor]) -> PreTrainedModel:
    """Return a new model of the same architecture with these weights, in evaluation mode.

    Parameters that `model` shares between modules are shared, whatever its configuration says: that
    of a T5 1.1 with a separate output layer says in transformers 5 that it is tied.
    """
    auto = AutoModelForSeq2SeqLM if model.config.is_encoder_decoder else AutoModelForCausalLM
    with torch.device("meta"):
        copy = auto.from_config(model.config)
    copy.load_state_dict(weights, assign=True)
    names: dict[int, str] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        first = names.setdefault(id(parameter), name)
        module, _, attribute = name.rpartition(".")
        setattr(copy.get_submodule(module), attribute, copy.get_parameter(first))
    return copy.eval()
