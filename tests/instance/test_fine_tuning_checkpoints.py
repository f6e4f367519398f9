"""Fine-tuning: a kill at any step, damaged and foreign checkpoints, a bucket that takes none."""

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from instance.models.chronos_fine_tuned import ChronosFineTuned
from tests.instance.fine_tuning_attempt import BUCKET, CPU, PREFIX, SETTINGS, checkpoints, series
from tests.instance.weights import make_chronos_2

ROOT = Path(__file__).parents[2]
KEPT_BELOW = f"{PREFIX}checkpoints/ChronosFineTuned/"
pytestmark = pytest.mark.usefixtures("one_thread")


def attempt(bucket: Path, weights: Path, folder: Path, mode: str, kill_at: int | None = None) -> dict[str, Any]:
    """Run one attempt, killed as soon as it tells step `kill_at`; return its summary, or nothing if killed."""
    command = [sys.executable, "-m", "tests.instance.fine_tuning_attempt", str(bucket), str(weights), str(folder), mode]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            told = json.loads(line)
            if kill_at is not None and told.get("step") == kill_at:
                process.kill()
                return {}
            if "summary" in told:
                summary: dict[str, Any] = told["summary"]
    return summary


@pytest.mark.parametrize("mode", ["bolt", "lora", pytest.param("full", marks=pytest.mark.slow)])
def test_killed_at_a_random_step_it_goes_on_elsewhere_to_the_same_loss_curve(
    mode: str, tiny_weights: Path, tmp_path: Path
) -> None:
    weights = tiny_weights
    if mode != "bolt":
        weights = tmp_path / "chronos-2"
        make_chronos_2(weights)
    whole = attempt(tmp_path / "one bucket", weights, tmp_path / "whole", mode)
    kill_at = random.Random(mode).randint(4, 10)
    assert attempt(tmp_path / "bucket", weights, tmp_path / "killed", mode, kill_at) == {}
    resumed = attempt(tmp_path / "bucket", weights, tmp_path / "another machine", mode)
    assert 0 < resumed["resumed_from_step"] <= kill_at
    assert resumed["loss_curve"] == whole["loss_curve"]
    assert resumed["best_validation_loss"] == whole["best_validation_loss"]
    one, other = (tmp_path / name / "model" / "model.safetensors" for name in ("whole", "another machine"))
    assert one.read_bytes() == other.read_bytes()


def kept(client: Any) -> list[str]:
    found = client.list_objects_v2(Bucket=BUCKET, Prefix=KEPT_BELOW).get("Contents", [])
    return [item["Key"].removeprefix(KEPT_BELOW) for item in found]


def newest(client: Any) -> str:
    """The slot of the checkpoint with the most steps."""

    def steps(stem: str) -> int:
        sidecar = json.loads(client.get_object(Bucket=BUCKET, Key=f"{KEPT_BELOW}{stem}.json")["Body"].read())
        return int(sidecar["progress"]["step"])

    return max(("slot-0", "slot-1"), key=steps)


def trained(client: Any, weights: Path, folder: Path, **depends_on: Any) -> int:
    """Train on whatever checkpoints there are, and return the step that was resumed from."""
    model = ChronosFineTuned(weights, CPU)
    return model.train(series(), SETTINGS, checkpoints(client, folder, **depends_on), lambda _: None).resumed_from_step


def test_the_last_two_checkpoints_are_kept_without_pickles(s3: Any, tiny_weights: Path, tmp_path: Path) -> None:
    trained(s3, tiny_weights, tmp_path)
    stems = ("slot-0", "slot-1")
    assert kept(s3) == [f"{stem}.{suffix}" for stem in stems for suffix in ("json", "safetensors")]
    json.loads(s3.get_object(Bucket=BUCKET, Key=f"{KEPT_BELOW}{newest(s3)}.json")["Body"].read())


@pytest.mark.parametrize("damage", ["flipped", "cut", "tensors gone", "sidecar cut"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    s3: Any, tiny_weights: Path, tmp_path: Path, damage: str
) -> None:
    trained(s3, tiny_weights, tmp_path / "a")
    suffix = "json" if damage == "sidecar cut" else "safetensors"
    key = f"{KEPT_BELOW}{newest(s3)}.{suffix}"
    body = s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    if damage == "tensors gone":
        s3.delete_object(Bucket=BUCKET, Key=key)
    else:
        changed = body[: len(body) // 2] if "cut" in damage else body[:-1] + bytes([body[-1] ^ 1])
        s3.put_object(Bucket=BUCKET, Key=key, Body=changed)
    assert trained(s3, tiny_weights, tmp_path / "b") == 38


def test_a_checkpoint_of_another_training_does_not_count(s3: Any, tiny_weights: Path, tmp_path: Path) -> None:
    assert trained(s3, tiny_weights, tmp_path / "a", data="one") == 0
    assert trained(s3, tiny_weights, tmp_path / "b", data="other") == 0
    assert trained(s3, tiny_weights, tmp_path / "c", data="other") == 40


def test_training_goes_on_when_s3_takes_no_checkpoint(s3: Any, tiny_weights: Path, tmp_path: Path) -> None:
    s3.delete_bucket(Bucket=BUCKET)
    model = ChronosFineTuned(tiny_weights, CPU)
    summary = model.train(series(), SETTINGS, checkpoints(s3, tmp_path), lambda _: None)
    assert summary.steps == 40
