"""Chronos: shapes, levels, batches, covariates, memory, fallbacks, refused weights, device and dtype."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from contracts.reasons import ModelWeightsMissing, OutOfMemory
from instance.hardware import Hardware, Placement, Precision, decide, training_precision
from instance.models.chronos_zero_shot import ChronosZeroShot
from instance.models.interface import KNOWN, PAST, Panel
from tests.instance.weights import make_chronos_2, make_chronos_t5

CPU = Placement("cpu", "float32")
NANO = Path(__file__).parents[2] / "models" / "chronos-bolt-nano"


def waves(*lengths: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [20 + 5 * np.sin(np.arange(n) * np.pi / 6) + rng.normal(size=n) for n in lengths]


def panel(values: list[np.ndarray], **covariates: list[np.ndarray]) -> Panel:
    return Panel([str(i) for i in range(len(values))], values, season_length=12, **covariates)


def at_levels(quantiles: np.ndarray, trained: list[float], levels: list[float]) -> np.ndarray:
    """(n, trained, horizon), crossing as those of random weights do, to (n, horizon, levels)."""
    uncrossed = np.sort(quantiles.swapaxes(1, 2), axis=-1)
    return np.apply_along_axis(lambda values: np.interp(levels, trained, values), -1, uncrossed)


@pytest.mark.parametrize(
    ("hardware", "expected"),
    [
        (Hardware(cuda=False), Placement("cpu", "float32")),
        (Hardware(True, (7, 5), native_bfloat16=False, name="Tesla T4"), Placement("cuda", "float16")),
        (Hardware(True, (8, 0), native_bfloat16=True, name="A100"), Placement("cuda", "bfloat16")),
        (Hardware(True, (8, 6), native_bfloat16=True, name="A10G"), Placement("cuda", "bfloat16")),
    ],
)
def test_device_and_dtype_suit_the_hardware(hardware: Hardware, expected: Placement) -> None:
    assert decide(hardware) == expected


@pytest.mark.parametrize(
    ("placement", "expected"),
    [
        (Placement("cpu", "float32"), Precision(None, scale_gradients=False)),
        (Placement("cuda", "float32"), Precision(None, scale_gradients=False)),
        (Placement("cuda", "float16"), Precision("float16", scale_gradients=True)),
        (Placement("cuda", "bfloat16"), Precision("bfloat16", scale_gradients=False)),
    ],
)
def test_only_float16_is_trained_with_scaled_gradients(placement: Placement, expected: Precision) -> None:
    assert training_precision(placement) == expected


def test_a_t4_never_trains_in_bfloat16() -> None:
    emulated = Hardware(True, (7, 5), native_bfloat16=True, name="Tesla T4")
    assert training_precision(decide(emulated)).autocast == "float16"


def test_chronos_forecasts_a_batch_of_any_lengths(tiny_weights: Path) -> None:
    done: list[int] = []
    windows = [panel(waves(5, 200, 30, 64))]
    [forecast] = ChronosZeroShot(tiny_weights, CPU).forecast(windows, 10, [0.9, 0.1, 0.5], done.append)
    assert forecast.point.shape == (4, 10)
    assert forecast.quantiles.shape == (4, 10, 3)
    assert sum(done) == 4
    assert (forecast.quantiles[..., 1] <= forecast.quantiles[..., 2]).all()
    assert (forecast.quantiles[..., 2] <= forecast.quantiles[..., 0]).all()
    np.testing.assert_array_equal(forecast.point, forecast.quantiles[..., 2])


def test_each_window_gets_the_forecasts_of_its_own_series(tiny_weights: Path) -> None:
    model, done = ChronosZeroShot(tiny_weights, CPU), []
    first, second = waves(30, 50, 40), waves(42, 62, 52)
    together = model.forecast([panel(first), panel(second)], 8, [0.1, 0.9], done.append)
    apart = [model.forecast([panel(values)], 8, [0.1, 0.9], lambda _: None)[0] for values in (first, second)]
    assert sum(done) == 6
    for one, other in zip(together, apart, strict=True):
        np.testing.assert_allclose(one.quantiles, other.quantiles, rtol=1e-4, atol=1e-4)


def test_chronos_forecasts_do_not_depend_on_the_batch(tiny_weights: Path) -> None:
    model, history = ChronosZeroShot(tiny_weights, CPU), waves(64, 80, 30)
    together = model.forecast([panel(history)], 8, [0.1, 0.9], lambda _: None)[0].quantiles
    alone = [model.forecast([panel([one])], 8, [0.1, 0.9], lambda _: None)[0].quantiles[0] for one in history]
    np.testing.assert_allclose(together, np.stack(alone), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("levels", [[0.1, 0.5, 0.9], [0.05, 0.33, 0.5, 0.97]])
@pytest.mark.parametrize("horizon", [8, 16, 40])
@pytest.mark.filterwarnings("ignore:We recommend keeping prediction length")
def test_bolt_forecasts_what_its_own_pipeline_forecasts(tiny_weights: Path, levels: list[float], horizon: int) -> None:
    model, history = ChronosZeroShot(tiny_weights, CPU), waves(64, 64, 64)
    [forecast] = model.forecast([panel(history)], horizon, levels, lambda _: None)
    expected = model.pipeline.predict(torch.tensor(np.array(history)), prediction_length=horizon)
    np.testing.assert_allclose(
        forecast.quantiles, at_levels(expected.numpy(), model.pipeline.quantiles, levels), rtol=1e-4, atol=1e-4
    )


def test_between_its_levels_bolt_interpolates_as_its_pipeline_does() -> None:
    model, history, levels = ChronosZeroShot(NANO, CPU), waves(120, 120), [0.05, 0.33, 0.5, 0.97]
    [forecast] = model.forecast([panel(history)], 24, levels, lambda _: None)
    expected, _ = model.pipeline.predict_quantiles(torch.tensor(np.array(history)), 24, levels)
    np.testing.assert_allclose(forecast.quantiles, expected.numpy(), rtol=1e-3)


@pytest.mark.parametrize("horizon", [7, 16, 40])
@pytest.mark.filterwarnings("ignore:We recommend keeping prediction length")
def test_chronos_2_forecasts_what_its_own_pipeline_forecasts(tmp_path: Path, horizon: int) -> None:
    make_chronos_2(tmp_path / "weights")
    model, values = ChronosZeroShot(tmp_path / "weights", CPU), waves(64, 64)
    rng, levels = np.random.default_rng(1), [0.02, 0.5, 0.9]
    past = [rng.normal(size=(1, 64)) for _ in values]
    known = [rng.normal(size=(2, 64 + horizon)) for _ in values]
    [forecast] = model.forecast([panel(values, past=past, known=known)], horizon, levels, lambda _: None)
    inputs = [
        {
            "target": value,
            "past_covariates": {"a": before[0], "b": both[0, :64], "c": both[1, :64]},
            "future_covariates": {"b": both[0, 64:], "c": both[1, 64:]},
        }
        for value, before, both in zip(values, past, known, strict=True)
    ]
    expected = np.stack([one[0].numpy() for one in model.pipeline.predict(inputs, prediction_length=horizon)])
    np.testing.assert_allclose(
        forecast.quantiles, at_levels(expected, model.pipeline.quantiles, levels), rtol=1e-3, atol=1e-3
    )


def test_known_covariates_change_the_forecast_of_chronos_2(tmp_path: Path) -> None:
    make_chronos_2(tmp_path / "weights")
    model, values = ChronosZeroShot(tmp_path / "weights", CPU), waves(40)
    assert model.covariates == {PAST, KNOWN}
    quiet, busy = np.zeros((1, 48)), np.r_[np.zeros(40), np.arange(8.0)][None]
    of = [model.forecast([panel(values, known=[known])], 8, [0.5], lambda _: None)[0].point for known in (quiet, busy)]
    assert not np.allclose(*of)


def test_bolt_makes_no_use_of_covariates(tiny_weights: Path) -> None:
    assert ChronosZeroShot(tiny_weights, CPU).covariates == frozenset()


def test_too_little_memory_halves_the_batch_and_loses_nothing(
    tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, windows = ChronosZeroShot(tiny_weights, CPU), [panel(waves(*range(30, 50)))]
    whole = model.forecast(windows, 8, [0.1, 0.9], lambda _: None)[0]
    sizes, done = [], []
    launch = model.family.launch

    def narrow(batch: Any, *rest: Any) -> Any:
        sizes.append(len(batch.context))
        if len(batch.context) > 6:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return launch(batch, *rest)

    monkeypatch.setattr(model.family, "launch", narrow)
    [halved] = model.forecast(windows, 8, [0.1, 0.9], done.append)
    assert sizes == [20, 10, 5, 5, 5, 5]
    assert sum(done) == 20
    np.testing.assert_allclose(halved.quantiles, whole.quantiles, rtol=1e-4, atol=1e-4)


def test_no_memory_for_a_single_series_ends_the_run(tiny_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = ChronosZeroShot(tiny_weights, CPU)

    def full(*_: Any) -> Any:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")

    monkeypatch.setattr(model.family, "launch", full)
    with pytest.raises(OutOfMemory, match="expected room for one series of 64 values on the cpu"):
        model.forecast([panel(waves(30, 40))], 8, [0.5], lambda _: None)


def test_errors_other_than_memory_pass_through(tiny_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = ChronosZeroShot(tiny_weights, CPU)

    def broken(*_: Any) -> Any:
        raise RuntimeError("shape mismatch")

    monkeypatch.setattr(model.family, "launch", broken)
    with pytest.raises(RuntimeError, match="shape mismatch"):
        model.forecast([panel(waves(30))], 8, [0.5], lambda _: None)


def test_chronos_says_which_levels_and_steps_it_was_not_trained_for(tiny_weights: Path) -> None:
    model = ChronosZeroShot(tiny_weights, CPU)
    assert model.caveats(16, [0.1, 0.25, 0.9]) == []
    outside, beyond = model.caveats(17, [0.05, 0.5, 0.95])
    assert outside.startswith("quantiles 0.05, 0.95 lie outside the levels 0.1 to 0.9 of the weights and repeat")
    assert beyond.startswith("steps beyond 16 are forecast from the model's own forecasts")


def test_a_forecast_that_is_not_finite_holds_the_last_value_and_is_named(
    tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, first, second = ChronosZeroShot(tiny_weights, CPU), waves(64, 64), waves(60, 60)
    launch = model.family.launch

    def overflow(batch: Any, *rest: Any) -> Any:
        quantiles = launch(batch, *rest).clone()
        quantiles[3, 2:] = float("inf")  # rows are by length: the last is the second series of the first window
        return quantiles

    monkeypatch.setattr(model.family, "launch", overflow)
    windows = model.forecast([panel(first), panel(second)], 4, [0.1, 0.5], lambda _: None)
    assert [list(window.failures) for window in windows] == [[1], []]
    assert "not finite" in windows[0].failures[1]
    np.testing.assert_array_equal(windows[0].quantiles[1], first[1][-1])


@pytest.mark.parametrize("make", [make_chronos_2, make_chronos_t5])
def test_other_generations_of_chronos_forecast_too(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "weights")
    model = ChronosZeroShot(tmp_path / "weights", CPU)
    [forecast] = model.forecast([panel(waves(5, 100, 30))], 8, [0.05, 0.5], lambda _: None)
    assert forecast.quantiles.shape == (3, 8, 2)
    assert (forecast.failures, model.caveats(8, [0.05, 0.5])) == ({}, [])


def test_chronos_saves_which_weights_it_used_and_takes_no_others_for_them(tiny_weights: Path, tmp_path: Path) -> None:
    model, windows = ChronosZeroShot(tiny_weights, CPU), [panel(waves(64))]
    model.save(tmp_path / "saved")
    used = json.loads((tmp_path / "saved" / "weights.json").read_text())
    assert (used["weights"], used["dtype"], used["context_length"]) == ("tiny-bolt", "float32", 64)
    assert json.loads((tmp_path / "saved" / "config.json").read_text())["chronos_config"]["context_length"] == 64
    again = ChronosZeroShot.load(tmp_path / "saved", tiny_weights, CPU)
    before, after = (one.forecast(windows, 4, [0.5], lambda _: None)[0].quantiles for one in (model, again))
    np.testing.assert_array_equal(before, after)
    make_chronos_2(tmp_path / "other")
    with pytest.raises(ModelWeightsMissing, match="other: expected the weights tiny-bolt with SHA-256"):
        ChronosZeroShot.load(tmp_path / "saved", tmp_path / "other", CPU)
