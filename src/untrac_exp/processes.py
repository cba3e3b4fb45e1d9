"""Processes that run one job together, started by `torchrun`: who they are, what they share.

Every process runs the whole program on the same data and in the same order. They part only where
work is divided (the shares of a batch, the batches of an evaluation) and meet again in a sum, so
all of them know every result. The first process alone writes files. In a single process all of
this is the identity.
"""

import logging
import os
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:  # the store's own commands need no torch
    from torch import Tensor

T = TypeVar("T")


def join(devices: int | str) -> None:
    """Meet the other processes, if there are any; before anything else of this module.

    Raises `ValueError` if several `devices` were asked for and their processes were not started.
    """
    import torch
    from torch import distributed as dist

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
    """How many were started together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_distributed() -> bool:
    """Whether this process has met others."""
    if number() == 1:
        return False
    from torch import distributed as dist

    return dist.is_initialized()


def is_first() -> bool:
    """Whether this process is the one that writes."""
    return not is_distributed() or os.environ["RANK"] == "0"


def shard(items: Iterable[T]) -> Iterator[T]:
    """This process' part of what all iterate."""
    if not is_distributed():
        return iter(items)
    return islice(items, int(os.environ["RANK"]), None, number())


def all_reduce(tensor: "Tensor") -> "Tensor":
    """The sum of a tensor over all processes, in place."""
    if is_distributed():
        from torch import distributed as dist

        dist.all_reduce(tensor)
    return tensor


def broadcast(value: T) -> T:
    """The first process' value, for all."""
    if not is_distributed():
        return value
    from torch import distributed as dist

    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def barrier() -> None:
    """Until all processes are here."""
    if is_distributed():
        from torch import distributed as dist

        dist.barrier()
