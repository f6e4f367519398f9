"""The models: shapes, order of quantiles, batches, fallbacks, refused weights, device and dtype."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from contracts.reasons import ModelWeightsMissing
from instance.hardware import Hardware, Placement, decide
from instance.models.auto_ets import AutoETS, SeriesForecast, forecast_series
from instance.models.chronos_zero_shot import ChronosZeroShot, check_folder
from tests.instance.weights import make_chronos_2, make_chronos_t5

CPU = Placement("cpu", "float32")


def waves(*lengths: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [20 + 5 * np.sin(np.arange(n) * np.pi / 6) + rng.normal(size=n) for n in lengths]


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


def test_chronos_forecasts_a_batch_of_any_lengths(tiny_weights: Path) -> None:
    done: list[int] = []
    history = waves(5, 200, 30, 64)
    forecast = ChronosZeroShot(tiny_weights, CPU).forecast(history, 10, [0.9, 0.1, 0.5], done.append)
    assert forecast.point.shape == (4, 10)
    assert forecast.quantiles.shape == (4, 10, 3)
    assert sum(done) == 4
    assert (forecast.quantiles[..., 1] <= forecast.quantiles[..., 2]).all()
    assert (forecast.quantiles[..., 2] <= forecast.quantiles[..., 0]).all()
    np.testing.assert_array_equal(forecast.point, forecast.quantiles[..., 2])


def test_chronos_forecasts_do_not_depend_on_the_batch(tiny_weights: Path) -> None:
    model, history = ChronosZeroShot(tiny_weights, CPU), waves(64, 80, 30)
    together = model.forecast(history, 8, [0.1, 0.9], lambda _: None).quantiles
    alone = [model.forecast([one], 8, [0.1, 0.9], lambda _: None).quantiles[0] for one in history]
    np.testing.assert_allclose(together, np.stack(alone), rtol=1e-4, atol=1e-4)


def test_chronos_goes_beyond_its_own_horizon_and_its_own_levels(tiny_weights: Path) -> None:
    with pytest.warns(UserWarning, match="prediction length"):
        forecast = ChronosZeroShot(tiny_weights, CPU).forecast(waves(64), 40, [0.05, 0.33], lambda _: None)
    assert forecast.quantiles.shape == (1, 40, 2)
    assert np.isfinite(forecast.quantiles).all()


def test_chronos_says_which_levels_and_steps_it_was_not_trained_for(tiny_weights: Path) -> None:
    model = ChronosZeroShot(tiny_weights, CPU)
    assert model.caveats(16, [0.1, 0.25, 0.9]) == []
    outside, beyond = model.caveats(17, [0.05, 0.5, 0.95])
    assert outside.startswith("quantiles 0.05, 0.95 lie outside the levels 0.1 to 0.9 of the weights and repeat")
    assert beyond.startswith("steps beyond 16 are forecast from the model's own forecasts")


def test_chronos_counts_a_forecast_that_is_not_finite(tiny_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, history = ChronosZeroShot(tiny_weights, CPU), waves(64, 64)
    real = model.pipeline.predict_quantiles

    def overflow(*arguments: Any, **named: Any) -> Any:
        quantiles, mean = real(*arguments, **named)
        quantiles[1, 2:] = float("inf")
        return quantiles, mean

    monkeypatch.setattr(model.pipeline, "predict_quantiles", overflow)
    forecast = model.forecast(history, 4, [0.1, 0.5], lambda _: None)
    assert forecast.failed == 1
    np.testing.assert_array_equal(forecast.point[1, 2:], history[1][-1])


@pytest.mark.parametrize("make", [make_chronos_2, make_chronos_t5])
def test_other_generations_of_chronos_forecast_too(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "weights")
    model = ChronosZeroShot(tmp_path / "weights", CPU)
    forecast = model.forecast(waves(5, 100, 30), 8, [0.05, 0.5], lambda _: None)
    assert forecast.quantiles.shape == (3, 8, 2)
    assert (forecast.failed, model.caveats(8, [0.05, 0.5])) == (0, [])


def test_chronos_saves_which_weights_it_used(tiny_weights: Path, tmp_path: Path) -> None:
    model = ChronosZeroShot(tiny_weights, CPU)
    model.save(tmp_path, ["a"], model.forecast(waves(64), 4, [0.5], lambda _: None))
    used = json.loads((tmp_path / "weights.json").read_text())
    assert (used["weights"], used["dtype"], used["context_length"]) == ("tiny-bolt", "float32", 64)
    assert len(used["weights_sha256"]) == 64
    assert json.loads((tmp_path / "config.json").read_text())["chronos_config"]["context_length"] == 64


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


def test_a_configuration_of_another_model_is_refused(tiny_weights: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_weights, tmp_path / "copy")
    (folder / "config.json").write_text('{"model_type": "t5"}')
    with pytest.raises(ModelWeightsMissing, match=r"chronos_config\.context_length"):
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


def test_auto_ets_quantiles_are_those_of_its_normal_intervals() -> None:
    done: list[int] = []
    forecast = AutoETS(12, cores=1).forecast(waves(96), 6, [0.9, 0.1, 0.5, 0.025, 0.975], done.append)
    q90, q10, q50, q025, q975 = np.moveaxis(forecast.quantiles[0], -1, 0)
    np.testing.assert_allclose(q50, forecast.point[0])
    np.testing.assert_allclose(q90 - q50, q50 - q10)
    np.testing.assert_allclose((q975 - q025) / (q90 - q10), 1.959964 / 1.281552, rtol=1e-5)
    assert (done, forecast.failed) == ([1], 0)
    assert forecast.parameters[0]["method"].startswith("ETS(")


def test_auto_ets_says_when_a_season_is_too_long_for_it() -> None:
    assert AutoETS(24, cores=1).caveats(5, [0.5]) == []
    assert AutoETS(52, cores=1).caveats(5, [0.5])[0].startswith("the season of 52 steps is longer than the 24")


def test_auto_ets_falls_back_to_the_last_season_and_counts_it() -> None:
    short = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    forecast = AutoETS(2, cores=1).forecast([short, waves(96)[0]], 3, [0.1, 0.5, 0.9], lambda _: None)
    assert forecast.failed == 1
    assert forecast.point[0].tolist() == [4.0, 5.0, 4.0]
    assert forecast.parameters[0]["method"] == "SeasonalNaive"
    # lag-2 residuals are all 2; the third step is two seasons ahead
    assert forecast.quantiles[0, 0, 2] == pytest.approx(4 + 2 * 1.281552, rel=1e-6)
    assert forecast.quantiles[0, 2, 2] == pytest.approx(4 + 2 * 2**0.5 * 1.281552, rel=1e-6)


def test_auto_ets_takes_a_constant_series() -> None:
    forecast = AutoETS(12, cores=1).forecast([np.full(40, 7.0)], 3, [0.1, 0.5, 0.9], lambda _: None)
    np.testing.assert_allclose(forecast.quantiles, np.full((1, 3, 3), 7.0), atol=1e-4)


def test_auto_ets_gives_the_same_in_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("instance.models.auto_ets.FEWEST_STEPS_FOR_PROCESSES", 2)
    history, done = waves(*range(20, 40)), []
    one, two = AutoETS(1, cores=1), AutoETS(1, cores=2)
    try:
        alone = one.forecast(history, 3, [0.1, 0.9], lambda _: None)
        shared = two.forecast(history, 3, [0.1, 0.9], done.append)
    finally:
        two.close()
    np.testing.assert_allclose(alone.quantiles, shared.quantiles)
    assert sum(done) == len(history)


def test_auto_ets_shares_few_long_series_among_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks: list[int] = []

    def note(_: AutoETS, given: list[Any], on_progress: Callable[[int], None]) -> list[SeriesForecast]:
        tasks.extend(len(history) for history, *_ in given)
        return [forecast_series(values[-30:], *rest) for history, *rest in given for values in history]

    monkeypatch.setattr(AutoETS, "_in_processes", note)
    AutoETS(1, cores=4).forecast(waves(3000, 3000, 3000), 2, [0.5], lambda _: None)
    assert tasks == [1, 1, 1]


def test_auto_ets_saves_parameters_by_series(tmp_path: Path) -> None:
    model = AutoETS(12, cores=1)
    model.save(tmp_path, ["a", "b"], model.forecast(waves(60, 60), 3, [0.5], lambda _: None))
    saved = json.loads((tmp_path / "parameters.json").read_text())
    assert sorted(saved["series"]) == ["a", "b"]
    assert saved["series"]["a"]["sigma2"] > 0
