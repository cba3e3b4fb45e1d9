"""Checkpoints to resume from: written so that they are whole, and checked before they are used."""

import logging
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from untrac_exp.runtime import processes

log = logging.getLogger(__name__)


def is_usable(checkpoint: Path) -> bool:
    """Return whether a checkpoint is there and whole; a damaged one is put aside."""
    if not checkpoint.exists():
        return False
    try:
        with zipfile.ZipFile(checkpoint) as archive:
            if archive.testzip() is None:
                return True
    except (zipfile.BadZipFile, EOFError):
        pass
    if processes.is_first():
        aside = checkpoint.replace(checkpoint.with_suffix(".damaged"))
        log.warning("%s was damaged: it is now %s, and training begins again", checkpoint, aside)
    return False


class BesideTarget(TorchCheckpointIO):
    """Writes a checkpoint beside its target, then renames it, so that the target is always whole.

    Lightning writes to TMPDIR first, which may be on another file system; a copy can be cut short.
    """

    def save_checkpoint(self, checkpoint: Any, path: Any, storage_options: Any = None) -> None:
        temporary = Path(path).with_suffix(".tmp")
        torch.save(checkpoint, temporary)
        temporary.replace(path)
