"""The GPU check: what it can do without a GPU, so that it works for the first person who has one."""

from pathlib import Path

import pytest
import torch

from benchmarks import gpu_check
from instance.hardware import Placement
from instance.models.chronos_folder import BOLT, check_folder, family_of

CPU = Placement("cpu", "float32")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_it_says_so_and_exits_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu_check.main() == 2
    assert "PyTorch sees no GPU here" in capsys.readouterr().out


def test_its_random_weights_have_the_size_of_the_published_ones(tmp_path: Path) -> None:
    folder = gpu_check.random_bolt(tmp_path, "bolt-tiny")
    check_folder(folder)
    assert family_of(folder) == BOLT
    assert (folder / "model.safetensors").stat().st_size == pytest.approx(4 * 8.65e6, rel=0.01)


def test_its_training_and_comparison_run_on_any_device(tmp_path: Path) -> None:
    trained = gpu_check.short_training(gpu_check.WEIGHTS, CPU, tmp_path, steps=3)
    assert trained["skipped"] == 0
    assert trained["after"] != trained["before"]
    assert gpu_check.difference(gpu_check.WEIGHTS, CPU)["largest"] == 0.0
