"""Distributed helpers for ranks that `torchrun` starts to run one job.

Every rank runs the whole program on the same data in the same order. Ranks divide only the
micro-batches of a step and the batches of an evaluation, and all-reduce the results, so every rank
has every result. Only rank 0 writes files. In a single process these functions do nothing.
"""

import logging
import os
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

import torch
from torch import Tensor
from torch import distributed as dist

T = TypeVar("T")


def join(devices: int | str) -> None:
    """Initialise the process group, if there are several ranks; call it first.

    Raises:
        ValueError: several `devices` are configured, but torchrun did not start the ranks.
    """
    world = number()
    if isinstance(devices, int) and devices > 1 and world == 1:
        raise ValueError(
            f"trainer.devices={devices} needs a process for each: start the command with "
            f"torchrun --nproc-per-node {devices} -m untrac_exp ... trainer=ddp"
        )
    if world > 1 and not dist.is_initialized():
        backend = "gloo"
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
            backend = "cpu:gloo,cuda:nccl"
        dist.init_process_group(backend)
    if not is_first():
        logging.disable(logging.INFO)


def number() -> int:
    """Return the world size."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_distributed() -> bool:
    """Return whether the process group is initialised with several ranks."""
    return number() > 1 and dist.is_initialized()


def is_first() -> bool:
    """Return whether this is rank 0, which writes files."""
    return not is_distributed() or os.environ["RANK"] == "0"


def shard(items: Iterable[T]) -> Iterator[T]:
    """Iterate over this rank's shard of the items."""
    if not is_distributed():
        return iter(items)
    return islice(items, int(os.environ["RANK"]), None, number())


def all_reduce(tensor: Tensor) -> Tensor:
    """Sum a tensor over all ranks, in place."""
    if is_distributed():
        dist.all_reduce(tensor)
    return tensor


def broadcast(value: T) -> T:
    """Return rank 0's value on all ranks."""
    if not is_distributed():
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def barrier() -> None:
    """Wait for all ranks."""
    if is_distributed():
        dist.barrier()
