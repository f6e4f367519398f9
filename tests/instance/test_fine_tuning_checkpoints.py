"""Fine-tuning: a kill at any step, damaged and foreign checkpoints, a bucket that takes none."""

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from instance.models.chronos_fine_tuned import ChronosFineTuned
from tests.instance.fine_tuning_attempt import CPU, SETTINGS, checkpoints, series
from tests.instance.samples import BUCKET, storage
from tests.instance.weights import make_chronos_2

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.usefixtures("one_thread")


def attempt(
    number: int, bucket: Path, weights: Path, folder: Path, mode: str, kill_at: int | None = None
) -> dict[str, Any]:
    """Run an attempt, killed as soon as it tells step `kill_at`; return its summary, or nothing if killed."""
    paths = [str(bucket), str(weights), str(folder)]
    command = [sys.executable, "-m", "tests.instance.fine_tuning_attempt", *paths, mode, str(number)]
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
    whole = attempt(1, tmp_path / "one bucket", weights, tmp_path / "whole", mode)
    kill_at = random.Random(mode).randint(4, 10)
    assert attempt(1, tmp_path / "bucket", weights, tmp_path / "killed", mode, kill_at) == {}
    resumed = attempt(2, tmp_path / "bucket", weights, tmp_path / "another machine", mode)
    assert 0 < resumed["resumed_from_step"] <= kill_at
    assert resumed["loss_curve"] == whole["loss_curve"]
    assert resumed["best_validation_loss"] == whole["best_validation_loss"]
    one, other = (tmp_path / name / "model" / "model.safetensors" for name in ("whole", "another machine"))
    assert one.read_bytes() == other.read_bytes()


def kept_below(number: int) -> str:
    """The key prefix of the checkpoints of an attempt."""
    return f"{storage(number).folder}checkpoints/ChronosFineTuned/"


def kept(client: Any, number: int) -> list[str]:
    """The checkpoints of an attempt."""
    found = client.list_objects_v2(Bucket=BUCKET, Prefix=kept_below(number)).get("Contents", [])
    return [item["Key"].removeprefix(kept_below(number)) for item in found]


def slots_by_steps(client: Any, number: int) -> list[str]:
    """The keys of the two checkpoints of an attempt, without suffix, the one with the most steps first."""

    def steps(stem: str) -> int:
        sidecar = json.loads(client.get_object(Bucket=BUCKET, Key=f"{stem}.json")["Body"].read())
        return int(sidecar["progress"]["step"])

    return sorted((f"{kept_below(number)}slot-{slot}" for slot in (0, 1)), key=steps, reverse=True)


def damage(client: Any, key: str, how: str) -> None:
    """Do to an object what happens to objects."""
    body = client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    if how == "gone":
        client.delete_object(Bucket=BUCKET, Key=key)
    else:
        changed = body[: len(body) // 2] if how == "cut" else body[:-1] + bytes([body[-1] ^ 1])
        client.put_object(Bucket=BUCKET, Key=key, Body=changed)


def trained(client: Any, weights: Path, folder: Path, number: int, **depends_on: Any) -> int:
    """Train as an attempt on whatever checkpoints the earlier ones left, and return the step that it resumed from."""
    kept = checkpoints(client, folder, number, **depends_on)
    return ChronosFineTuned(weights, CPU).train(series(), SETTINGS, kept, lambda _: None).resumed_from_step


def test_the_last_two_checkpoints_are_kept_without_pickles(s3: Any, tiny_weights: Path, tmp_path: Path) -> None:
    trained(s3, tiny_weights, tmp_path, 1)
    stems = ("slot-0", "slot-1")
    assert kept(s3, 1) == [f"{stem}.{suffix}" for stem in stems for suffix in ("json", "safetensors")]


@pytest.mark.parametrize(
    ("suffix", "how"), [("safetensors", "flipped"), ("safetensors", "cut"), ("safetensors", "gone"), ("json", "cut")]
)
def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    s3: Any, tiny_weights: Path, tmp_path: Path, suffix: str, how: str
) -> None:
    trained(s3, tiny_weights, tmp_path / "a", 1)
    damage(s3, f"{slots_by_steps(s3, 1)[0]}.{suffix}", how)
    assert trained(s3, tiny_weights, tmp_path / "b", 2) == 38


def test_the_checkpoint_with_the_most_steps_is_taken_up_whichever_attempt_left_it(
    s3: Any, tiny_weights: Path, tmp_path: Path
) -> None:
    trained(s3, tiny_weights, tmp_path / "a", 1)
    damage(s3, f"{slots_by_steps(s3, 1)[0]}.json", "gone")
    assert trained(s3, tiny_weights, tmp_path / "b", 2) == 38
    assert kept(s3, 2) == ["slot-0.json", "slot-0.safetensors"]  # after 40 steps
    assert trained(s3, tiny_weights, tmp_path / "c", 3) == 40
    assert kept(s3, 3) == []
    damage(s3, f"{kept_below(2)}slot-0.safetensors", "flipped")
    assert trained(s3, tiny_weights, tmp_path / "d", 4) == 38  # of the first attempt


def test_a_checkpoint_of_another_training_does_not_count(s3: Any, tiny_weights: Path, tmp_path: Path) -> None:
    assert trained(s3, tiny_weights, tmp_path / "a", 1, data="one") == 0
    assert trained(s3, tiny_weights, tmp_path / "b", 2, data="other") == 0
    assert trained(s3, tiny_weights, tmp_path / "c", 3, data="other") == 40


def test_training_goes_on_when_s3_takes_no_checkpoint(s3: Any, tiny_weights: Path, tmp_path: Path) -> None:
    s3.delete_bucket(Bucket=BUCKET)
    model = ChronosFineTuned(tiny_weights, CPU)
    summary = model.train(series(), SETTINGS, checkpoints(s3, tmp_path), lambda _: None)
    assert summary.steps == 40
