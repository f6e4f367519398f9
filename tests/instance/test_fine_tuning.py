"""Fine-tuning: what is learnt from, resume after a kill, memory, divergence, early stopping, what is saved."""

import itertools
import json
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from contracts.documents import check
from contracts.reasons import DatasetInvalid, ModelWeightsMissing, OutOfMemory, TrainingDiverged
from instance.fine_tuning.bolt import MOST_SKIPPED, BoltTrainer
from instance.fine_tuning.run import fine_tune
from instance.fine_tuning.samples import Sampler, split
from instance.fine_tuning.schedule import learning_rate, segment_ends
from instance.fine_tuning.settings import Progress, StepReport, TrainingSettings, settings_of
from instance.hardware import Placement, Precision
from instance.models.chronos_fine_tuned import ChronosFineTuned
from instance.models.chronos_folder import load_pipeline
from instance.models.chronos_zero_shot import ChronosZeroShot
from instance.models.interface import Panel
from instance.series_store import FlatSeries
from tests.instance.fine_tuning_attempt import BUCKET, CPU, PREFIX, SETTINGS, checkpoints, series
from tests.instance.weights import make_chronos_2, make_chronos_t5

ROOT = Path(__file__).parents[2]
FLOAT32 = Precision(None, scale_gradients=False)
KEPT_BELOW = f"{PREFIX}checkpoints/ChronosFineTuned/"


def settings(**changes: Any) -> TrainingSettings:
    return TrainingSettings(**{**vars(SETTINGS), **changes})


def bolt(weights: Path, wanted: TrainingSettings, precision: Precision = FLOAT32) -> BoltTrainer:
    return BoltTrainer(load_pipeline(weights, CPU), series(), wanted, 3e-3, CPU, precision)


def panel(data: FlatSeries) -> Panel:
    values = [data.values[a:b] for a, b in zip(data.starts[:-1], data.starts[1:], strict=True)]
    return Panel([str(i) for i in range(len(values))], values, season_length=12)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


# What is learnt from


@pytest.mark.parametrize("n_windows", [1, 3])
def test_nothing_after_the_first_cutoff_is_learnt_from_or_validated_on(n_windows: int) -> None:
    data, horizon = series(), 8
    lengths = np.diff(data.starts)
    hidden = data.values.copy()
    for start, length in zip(data.starts[:-1], lengths, strict=True):
        hidden[start + length - n_windows * horizon : start + length] = np.nan
    parts = split(data.starts, horizon, n_windows, horizon)
    seen, blind = (Sampler(values, parts, 64, seed=1) for values in (data.values, hidden))
    for step in range(1, 30):
        for one, other in zip(seen.batch(step, 32), blind.batch(step, 32), strict=True):
            np.testing.assert_array_equal(one, other)
    for one, other in zip(seen.validation(), blind.validation(), strict=True):
        np.testing.assert_array_equal(one[1], other[1])
        assert np.isfinite(other[1]).all()


def test_training_targets_end_before_the_validation_targets() -> None:
    data = FlatSeries(np.arange(200.0), np.array([0, 100, 200]), None, None)
    sampler = Sampler(data.values, split(data.starts, 8, 2, 8), 64, seed=1)
    targets = np.concatenate([sampler.batch(step, 64)[1] for step in range(1, 30)])
    [(_, validated)] = sampler.validation()
    assert validated.tolist() == [list(range(76, 84)), list(range(176, 184))]
    assert (targets.max(axis=1) % 100 < 76).all()
    assert {75, 175} <= set(targets.max(axis=1).tolist())  # and they do come as close as they may


def test_windows_are_whole_pieces_of_one_series() -> None:
    values = np.concatenate([np.arange(30.0), 1000 + np.arange(60.0)])
    sampler = Sampler(values, split(np.array([0, 30, 90]), 4, 1, 4), 16, seed=3)
    context, target = sampler.batch(1, 200)
    both = np.concatenate([context, target], axis=1)
    steps = np.diff(both, axis=1)
    assert np.isnan(both).any()
    assert (steps[~np.isnan(steps)] == 1).all()
    assert (both[:, -1] < 1000).any()
    assert (both[:, -1] >= 1000).any()


def test_batches_depend_on_the_seed_and_the_step_alone() -> None:
    data = series()
    parts = split(data.starts, 8, 1, 8)
    one, other = Sampler(data.values, parts, 64, seed=1), Sampler(data.values, parts, 64, seed=1)
    one.batch(1, 8)
    np.testing.assert_array_equal(one.batch(2, 8)[0], other.batch(2, 8)[0])
    assert not np.array_equal(one.batch(2, 8)[1], one.batch(3, 8)[1])
    assert not np.array_equal(one.batch(2, 8)[1], Sampler(data.values, parts, 64, seed=2).batch(2, 8)[1])


def test_constant_contexts_count_nothing() -> None:
    values = np.r_[np.full(100, 3.0), np.arange(100.0)]
    sampler = Sampler(values, split(np.array([0, 100, 200]), 4, 1, 4), 16, seed=3)
    context, target = sampler.batch(1, 100)
    constant = context[:, -1] == context[:, -2]
    assert constant.any()
    assert np.isnan(target[constant]).all()
    assert np.isfinite(target[~constant]).all()


def test_series_that_are_all_too_short_are_refused_with_what_is_needed() -> None:
    with pytest.raises(DatasetInvalid, match=r"a series of at least 37 values .* found at most 36"):
        split(np.array([0, 36, 50]), 8, 2, 8)
    assert split(np.array([0, 37, 50]), 8, 2, 8).series.tolist() == [0]


# Settings and schedule


def test_settings_come_from_the_request() -> None:
    request = check("run_request", {"fine_tuning_steps": 50, "fine_tuning_mode": "lora", "seed": 3})
    wanted = settings_of(request, horizon=12, n_windows=2)
    assert (wanted.steps, wanted.mode, wanted.seed, wanted.horizon, wanted.segment) == (50, "lora", 3, 12, 2)
    assert wanted.learning_rate is None


def test_the_learning_rate_rises_then_falls_along_a_cosine() -> None:
    rates = [learning_rate(step, 100, 1.0) for step in range(1, 101)]
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert all(a > b > 0 for a, b in itertools.pairwise(rates[4:]))
    assert rates[52] == pytest.approx(0.5, abs=0.01)
    assert learning_rate(1, 1, 1.0) == 1.0


@pytest.mark.parametrize(
    ("done", "steps", "segment", "ends"),
    [(0, 10, 4, [4, 8, 10]), (4, 10, 4, [8, 10]), (8, 8, 4, []), (0, 3, 1, [1, 2, 3]), (0, 1, 1, [1])],
)
def test_segments_end_at_every_checkpoint_and_at_the_last_step(
    done: int, steps: int, segment: int, ends: list[int]
) -> None:
    assert segment_ends(done, steps, segment) == ends


# Training


def test_fine_tuning_improves_the_validation_loss_and_tells_each_step(
    s3: Any, tiny_weights: Path, tmp_path: Path
) -> None:
    told: list[StepReport] = []
    model = ChronosFineTuned(tiny_weights, CPU)
    summary = model.train(series(), SETTINGS, checkpoints(s3, tmp_path), told.append)
    assert [report.step for report in told] == list(range(1, 41))
    assert [report.loss for report in told] == summary.loss_curve
    assert all(report.total == 40 and report.series_per_second > 0 for report in told)
    assert summary.best_validation_loss < 0.9 * summary.first_validation_loss
    assert (summary.resumed_from_step, summary.stopped_early, summary.steps) == (0, False, 40)


def test_the_tuned_weights_forecast_better_and_can_be_staged(s3: Any, tiny_weights: Path, tmp_path: Path) -> None:
    data = series()
    truth = [data.values[end - 8 : end] for end in data.starts[1:]]
    before = np.concatenate([data.values[start : start + 82] for start in data.starts[:-1]])
    known = FlatSeries(before, np.arange(21) * 82, past=None, known=None)
    model = ChronosFineTuned(tiny_weights, CPU)
    model.train(data, settings(steps=100), checkpoints(s3, tmp_path / "work"), lambda _: None)
    model.save(tmp_path / "saved")
    staged = ChronosZeroShot(tmp_path / "saved", CPU)
    again = ChronosFineTuned.load(tmp_path / "saved", tmp_path / "saved", CPU)
    tuned, of_stage, of_load, untuned = (
        one.forecast([panel(known)], 8, [0.1, 0.5, 0.9], lambda _: None)[0]
        for one in (model, staged, again, ChronosZeroShot(tiny_weights, CPU))
    )
    np.testing.assert_array_equal(tuned.quantiles, of_stage.quantiles)
    np.testing.assert_array_equal(tuned.quantiles, of_load.quantiles)
    assert np.abs(tuned.point - truth).mean() < 0.9 * np.abs(untuned.point - truth).mean()
    assert json.loads((tmp_path / "saved" / "fine_tuning.json").read_text())["started_from"] == "tiny-bolt"
    assert (tmp_path / "saved" / "model.safetensors").stat().st_mode & 0o777 == 0o644


def test_the_loss_curve_is_the_same_by_seed(tiny_weights: Path) -> None:
    curves = []
    for seed in (1, 1, 2):
        progress = Progress()
        bolt(tiny_weights, settings(seed=seed)).run(progress, 6, lambda _: None)
        curves.append(progress.losses)
    assert curves[0] == curves[1]
    assert curves[0] != curves[2]


def test_accumulation_gives_the_steps_of_the_whole_batch(tiny_weights: Path) -> None:
    whole, parts = Progress(), Progress(accumulation=4)
    for progress in (whole, parts):
        bolt(tiny_weights, SETTINGS).run(progress, 6, lambda _: None)
    np.testing.assert_allclose(whole.losses, parts.losses, rtol=1e-4)


def test_out_of_memory_splits_the_batch_and_goes_on(tiny_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, split_up, sizes = Progress(), Progress(), []
    bolt(tiny_weights, SETTINGS).run(whole, 3, lambda _: None)
    trainer = bolt(tiny_weights, SETTINGS)
    loss = trainer._loss

    def narrow(context: Any, target: Any) -> Any:
        sizes.append(len(context))
        if len(context) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return loss(context, target)

    monkeypatch.setattr(trainer, "_loss", narrow)
    trainer.run(split_up, 3, lambda _: None)
    assert sizes == [8, 4, *[2] * 12]
    assert split_up.accumulation == 4
    np.testing.assert_allclose(split_up.losses, whole.losses, rtol=1e-4)


def test_no_memory_for_one_series_ends_the_training(tiny_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = bolt(tiny_weights, SETTINGS)

    def full(*_: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(trainer, "_loss", full)
    with pytest.raises(OutOfMemory, match="room for one series on the cpu"):
        trainer.run(Progress(), 1, lambda _: None)


def test_a_loss_that_is_no_number_stops_with_the_step(tiny_weights: Path) -> None:
    trainer = bolt(tiny_weights, SETTINGS)
    with torch.no_grad():
        next(iter(trainer.model.parameters())).fill_(float("nan"))
    with pytest.raises(TrainingDiverged, match="step 1: expected a finite loss and gradient, found nan"):
        trainer.run(Progress(), 3, lambda _: None)


def test_scaled_gradients_that_overflow_skip_their_step_and_only_many_in_a_row_diverge(
    tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = bolt(tiny_weights, settings(steps=100), Precision(None, scale_gradients=True))
    loss, broken = trainer._loss, {3, 4}
    step = trainer._step

    def noted(number: int, *rest: Any) -> Any:
        monkeypatch.setattr(trainer, "_loss", lambda *rows: loss(*rows) * (float("inf") if number in broken else 1.0))
        return step(number, *rest)

    monkeypatch.setattr(trainer, "_step", noted)
    progress, before = Progress(), trainer.scaler.get_scale()
    trainer.run(progress, 6, lambda _: None)
    assert [value is None for value in progress.losses] == [False, False, True, True, False, False]
    assert trainer.scaler.get_scale() == before / 4
    assert all(bool(torch.isfinite(weight).all()) for weight in trainer.model.parameters())
    broken.update(range(7, 100))
    with pytest.raises(TrainingDiverged, match=f"for the {MOST_SKIPPED + 1}th time in a row"):
        trainer.run(progress, 99, lambda _: None)


def test_it_stops_early_and_keeps_the_best_weights(
    s3: Any, tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer, seen = bolt(tiny_weights, settings(patience=3)), []
    losses = iter([5.0, 4.0, 3.0, 3.5, 3.0, 3.6])

    def validate() -> float:
        seen.append(trainer.weights())
        return next(losses)

    monkeypatch.setattr(trainer, "validation_loss", validate)
    summary = fine_tune(trainer, settings(patience=3), checkpoints(s3, tmp_path), lambda _: None)
    assert (summary.stopped_early, summary.steps, summary.best_step) == (True, 10, 4)
    assert (summary.first_validation_loss, summary.best_validation_loss) == (5.0, 3.0)
    for name, weight in trainer.weights().items():
        torch.testing.assert_close(weight, seen[2][name], rtol=0, atol=0)
    assert any(not torch.equal(weight, seen[5][name]) for name, weight in trainer.weights().items())


def test_weights_that_only_get_worse_are_left_as_they_came(
    s3: Any, tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer, losses = bolt(tiny_weights, settings(patience=2)), itertools.count(1.0)
    untouched = trainer.weights()
    monkeypatch.setattr(trainer, "validation_loss", lambda: next(losses))
    assert fine_tune(trainer, settings(patience=2), checkpoints(s3, tmp_path), lambda _: None).best_step == 0
    for name, weight in trainer.weights().items():
        torch.testing.assert_close(weight, untouched[name], rtol=0, atol=0)


# Checkpoints


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


# Families


@pytest.mark.parametrize("mode", ["full", "lora"])
def test_chronos_2_learns_with_covariates_and_gives_whole_weights(mode: str, s3: Any, tmp_path: Path) -> None:
    make_chronos_2(tmp_path / "weights")
    model = ChronosFineTuned(tmp_path / "weights", CPU)
    wanted = settings(mode=mode, steps=6, learning_rate=1e-2)
    summary = model.train(series(covariates=True), wanted, checkpoints(s3, tmp_path / "work"), lambda _: None)
    assert summary.best_validation_loss < summary.first_validation_loss
    model.save(tmp_path / "saved")
    staged = ChronosZeroShot(tmp_path / "saved", CPU)
    [forecast] = staged.forecast([panel(series())], 8, [0.5], lambda _: None)
    assert np.isfinite(forecast.quantiles).all()


def test_chronos_2_splits_its_batch_when_memory_runs_out(
    tmp_path: Path, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_chronos_2(tmp_path / "weights")
    model, sizes = ChronosFineTuned(tmp_path / "weights", CPU), []
    fit = type(model.pipeline).fit

    def narrow(self: Any, *inputs: Any, **named: Any) -> Any:
        sizes.append((named["batch_size"], named["gradient_accumulation_steps"]))
        if named["batch_size"] > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return fit(self, *inputs, **named)

    monkeypatch.setattr(type(model.pipeline), "fit", narrow)
    summary = model.train(series(), settings(steps=2), checkpoints(s3, tmp_path / "work"), lambda _: None)
    assert sizes == [(8, 1), (4, 2), (4, 2)]
    assert summary.steps == 2


def test_chronos_2_stops_when_the_loss_is_no_number(tmp_path: Path, s3: Any) -> None:
    make_chronos_2(tmp_path / "weights")
    model = ChronosFineTuned(tmp_path / "weights", CPU)
    with pytest.raises(TrainingDiverged, match="fine-tuning, step"):
        model.train(series(), settings(learning_rate=1e30), checkpoints(s3, tmp_path / "work"), lambda _: None)
    model.close()  # as the run does at its end; it must not hide the error


def test_the_first_generation_is_not_fine_tuned(tmp_path: Path) -> None:
    make_chronos_t5(tmp_path / "weights")
    with pytest.raises(ModelWeightsMissing, match="expected weights of Chronos-Bolt or Chronos-2 to fine-tune"):
        ChronosFineTuned(tmp_path / "weights", CPU)


def test_adapters_are_for_chronos_2_only(s3: Any, tiny_weights: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_weights, tmp_path / "bolt")
    model = ChronosFineTuned(folder, CPU)
    with pytest.raises(ModelWeightsMissing, match="Chronos-2 for fine_tuning_mode lora, found Chronos-Bolt"):
        model.train(series(), settings(mode="lora"), checkpoints(s3, tmp_path), lambda _: None)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_float16_with_scaled_gradients_learns_on_the_gpu(s3: Any, tiny_weights: Path, tmp_path: Path) -> None:
    model = ChronosFineTuned(tiny_weights, Placement("cuda", "float16"))
    summary = model.train(series(), SETTINGS, checkpoints(s3, tmp_path), lambda _: None)
    assert summary.best_validation_loss < summary.first_validation_loss
