"""Folders of Chronos weights that are refused: gone, incomplete, corrupt, of another model, with code in them."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from contracts.reasons import ModelWeightsMissing
from instance.hardware import Placement
from instance.models.chronos_folder import check_folder
from instance.models.chronos_zero_shot import ChronosZeroShot

CPU = Placement("cpu", "float32")


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelWeightsMissing, match="nowhere: expected a folder of Chronos weights, found none"):
        check_folder(tmp_path / "nowhere")


def test_an_adapter_without_its_base_is_refused(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    (tmp_path / "adapter_model.safetensors").write_bytes(b"x")
    with pytest.raises(ModelWeightsMissing, match=r"found a LoRA adapter \(adapter_config.json\)"):
        check_folder(tmp_path)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_missing_weights_are_refused_by_name(tiny_weights: Path, tmp_path: Path, name: str) -> None:
    folder = shutil.copytree(tiny_weights, tmp_path / "copy")
    (folder / name).unlink()
    with pytest.raises(ModelWeightsMissing, match=f"copy: expected {name}, found none"):
        check_folder(folder)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "training_args.pkl", "modeling.py"])
def test_files_that_can_run_code_are_refused(tiny_weights: Path, tmp_path: Path, name: str) -> None:
    folder = shutil.copytree(tiny_weights, tmp_path / "copy")
    (folder / name).write_text("x")
    with pytest.raises(ModelWeightsMissing, match=f"found {name}, which can run code"):
        check_folder(folder)


@pytest.mark.parametrize(
    ("config", "found"),
    [
        ({"model_type": "t5"}, "found t5"),
        ({"architectures": ["BertModel"], "model_type": "bert"}, "found .*BertModel"),
        ({"architectures": ["T5ForConditionalGeneration"], "model_type": "t5"}, "found .*T5ForConditionalGeneration"),
        ({"architectures": ["PatchTST"], "chronos_config": {"context_length": 64}}, "found .*PatchTST"),
        ([], "found nothing of the kind"),
    ],
)
def test_a_configuration_of_another_model_is_refused(
    tiny_weights: Path, tmp_path: Path, config: Any, found: str
) -> None:
    folder = shutil.copytree(tiny_weights, tmp_path / "copy")
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelWeightsMissing, match=rf"chronos_config\.context_length.*{found}"):
        check_folder(folder)


def test_corrupt_weights_are_refused(tiny_weights: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_weights, tmp_path / "copy")
    (folder / "model.safetensors").write_bytes(b"not tensors")
    with pytest.raises(ModelWeightsMissing, match="expected weights that match"):
        ChronosZeroShot(folder, CPU)


def test_weights_that_lack_a_tensor_are_refused(tiny_weights: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_weights, tmp_path / "copy")
    tensors = load_file(folder / "model.safetensors")
    removed = sorted(name for name in tensors if "output_patch" in name)[0]
    del tensors[removed]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelWeightsMissing, match=f"no weight {removed}"):
        ChronosZeroShot(folder, CPU)
