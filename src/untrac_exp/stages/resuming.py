"""Checkpoints to resume from are whole, whenever a run is killed."""

import logging
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch
from lightning.fabric.plugins import TorchCheckpointIO

log = logging.getLogger(__name__)


class BesideTarget(TorchCheckpointIO):
    """Writes a checkpoint beside its target, then renames it, so that the target is always whole.

    Lightning writes to TMPDIR first, which may be on another file system; a copy can be cut short.
    """

    def save_checkpoint(self, checkpoint: Any, path: Any, storage_options: Any = None) -> None:
        temporary = Path(path).with_suffix(".tmp")
        torch.save(checkpoint, temporary)
        temporary.replace(path)


def resumable(checkpoint: Path) -> str | None:
    """Return the path of a checkpoint to resume from, None if there is none.

    One that was cut or changed, as by a full disk, is put aside.
    """
    try:
        with ZipFile(checkpoint) as file:
            fault = file.testzip()
    except FileNotFoundError:
        return None
    except BadZipFile as error:
        fault = str(error)
    if fault is not None:
        log.warning("%s is damaged (%s): training begins again", checkpoint, fault)
        checkpoint.replace(checkpoint.with_suffix(".damaged"))
        return None
    return str(checkpoint)
