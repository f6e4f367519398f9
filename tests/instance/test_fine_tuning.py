"""Fine-tuning: what training does to the weights, memory, divergence, early stopping, the model families."""

import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from contracts.reasons import ModelWeightsMissing, OutOfMemory, TrainingDiverged
from instance.fine_tuning.bolt import MOST_SKIPPED, BoltTrainer
from instance.fine_tuning.run import fine_tune
from instance.fine_tuning.settings import Progress, StepReport, TrainingSettings
from instance.hardware import Placement, Precision
from instance.models.chronos_fine_tuned import ChronosFineTuned
from instance.models.chronos_folder import load_pipeline
from instance.models.chronos_zero_shot import ChronosZeroShot
from instance.models.interface import Panel
from instance.series_store import FlatSeries
from tests.instance.fine_tuning_attempt import CPU, SETTINGS, checkpoints, series
from tests.instance.weights import make_chronos_2, make_chronos_t5

FLOAT32 = Precision(None, scale_gradients=False)


def settings(**changes: Any) -> TrainingSettings:
    return TrainingSettings(**{**vars(SETTINGS), **changes})


def bolt(weights: Path, wanted: TrainingSettings, precision: Precision = FLOAT32) -> BoltTrainer:
    return BoltTrainer(load_pipeline(weights, CPU), series(), wanted, 3e-3, CPU, precision)


def panel(data: FlatSeries) -> Panel:
    values = [data.values[a:b] for a, b in zip(data.starts[:-1], data.starts[1:], strict=True)]
    return Panel([str(i) for i in range(len(values))], values, season_length=12)


pytestmark = pytest.mark.usefixtures("one_thread")


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
