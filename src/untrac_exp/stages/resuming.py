"""Checkpoints to resume from are whole, whenever a run is killed."""

from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO


class BesideTarget(TorchCheckpointIO):
    """Writes a checkpoint beside its target, then renames it, so that the target is always whole.

    Lightning writes to TMPDIR first, which may be on another file system; a copy can be cut short.
    """

    def save_checkpoint(self, checkpoint: Any, path: Any, storage_options: Any = None) -> None:
        temporary = Path(path).with_suffix(".tmp")
        torch.save(checkpoint, temporary)
        temporary.replace(path)
