"""Keep a training so that it can go on as if it had never stopped. Runs on a developer's computer."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pretraining.settings import Settings, SettingsChangedError

if TYPE_CHECKING:
    import torch

TENSORS, PROGRESS = "tensors.safetensors", "progress.json"


def write(folder: Path, tensors: Mapping[str, "torch.Tensor"], progress: Mapping[str, Any], settings: Settings) -> None:
    """Replace the checkpoint in `folder` by a new one; a crash at any moment leaves the old or the new one, whole."""
    from safetensors.torch import save_file  # noqa: PLC0415 - it imports torch

    fresh, old = folder.with_suffix(".new"), folder.with_suffix(".old")
    for left in (fresh, old):
        shutil.rmtree(left, ignore_errors=True)
    fresh.mkdir(parents=True)
    save_file({name: value.detach().clone().contiguous() for name, value in tensors.items()}, fresh / TENSORS)
    (fresh / PROGRESS).write_text(json.dumps({**progress, "settings": settings.as_json()}, indent=2) + "\n")
    if folder.exists():
        folder.replace(old)
    fresh.replace(folder)
    shutil.rmtree(old, ignore_errors=True)


def read(folder: Path, settings: Settings) -> tuple[dict[str, "torch.Tensor"], dict[str, Any]] | None:
    """Return the tensors and the progress of the checkpoint in `folder`, or None where there is none.

    Raises
    ------
    SettingsChangedError
        It was made with other settings, so that to go on from it would be another training.
    """
    from safetensors.torch import load_file  # noqa: PLC0415 - it imports torch

    found = next((path for path in (folder, folder.with_suffix(".old")) if (path / PROGRESS).is_file()), None)
    if found is None:
        return None
    progress = json.loads((found / PROGRESS).read_text())
    made_with = progress.pop("settings")
    if made_with != settings.as_json():
        changed = sorted(name for name, value in settings.as_json().items() if made_with.get(name) != value)
        raise SettingsChangedError(
            f"{found}: expected a checkpoint of the same settings, found others for {', '.join(changed)}. "
            "Use the same settings, another --out, or delete the checkpoint."
        )
    return load_file(found / TENSORS), progress
