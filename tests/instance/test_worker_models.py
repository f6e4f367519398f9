"""The worker with each kind of model: ensemble, fine-tuned, sampling, with covariates, and what they cannot do."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from contracts.documents import parse
from instance.models.auto_ets import EtsMethod
from tests.instance.samples import BUCKET, monthly_frame, stage, storage
from tests.instance.weights import make_chronos_t5
from tests.instance.worker_attempt import REQUEST, details, failure, work


def test_levels_that_differ_late_stay_apart(s3: Any, tiny_weights: Path, tmp_path: Path) -> None:
    levels = [0.1234567, 0.1234568, 0.5]
    manifest = stage(s3, tiny_weights, monthly_frame(), {**REQUEST, "models": ["AutoETS"], "quantile_levels": levels})
    assert work(s3, manifest, tmp_path / "run")[0] == 0
    forecast = pd.read_parquet(tmp_path / "run" / "results" / "forecasts" / "AutoETS.parquet")
    assert [name for name in forecast.columns if name.startswith("q")] == ["q0.1234567", "q0.1234568", "q0.5"]


def test_what_a_model_cannot_do_is_in_the_metadata(s3: Any, tiny_weights: Path, tmp_path: Path) -> None:
    asked = {**REQUEST, "quantile_levels": [0.05, 0.5, 0.95], "season_length": 52}
    work(s3, stage(s3, tiny_weights, monthly_frame(), asked), tmp_path / "run")
    metadata = parse("model_metadata", (tmp_path / "run" / "results" / "model_metadata.json").read_bytes())
    assert "quantiles 0.05, 0.95 lie outside" in metadata["models"]["ChronosZeroShot"]["notes"][0]
    assert "season of 52 steps" in metadata["models"]["AutoETS"]["notes"][0]


def test_series_that_a_model_cannot_forecast_are_named_and_the_others_are_not_lost(
    s3: Any, tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = EtsMethod.choose

    def fails_on_one(self: Any, seen: Any, horizon: int) -> Any:
        if seen.values[0] == first_of_one:
            raise ValueError("no fit")
        return real(self, seen, horizon)

    frame = monthly_frame()
    first_of_one = float(frame.loc[frame["unique_id"] == "series-1", "y"].iloc[0])
    monkeypatch.setattr(EtsMethod, "choose", fails_on_one)
    manifest = stage(s3, tiny_weights, frame, {**REQUEST, "models": ["AutoETS", "SeasonalNaive"]})
    assert work(s3, manifest, tmp_path / "run")[0] == 0
    metadata = parse("model_metadata", (tmp_path / "run" / "results" / "model_metadata.json").read_bytes())
    ets = metadata["models"]["AutoETS"]
    assert (ets["series_failed"], list(ets["failed_series"])) == (1, ["series-1"])
    assert "no fit" in ets["failed_series"]["series-1"]
    forecast, naive = (
        pd.read_parquet(tmp_path / "run" / "results" / "forecasts" / f"{name}.parquet")
        for name in ("AutoETS", "SeasonalNaive")
    )
    same = (forecast["point"] == naive["point"]).groupby(forecast["unique_id"]).all()
    assert same.to_dict() == {"series-0": False, "series-1": True, "series-2": False}


def test_an_ensemble_blends_the_models_and_every_model_is_ranked(s3: Any, tiny_weights: Path, tmp_path: Path) -> None:
    models = ["SeasonalNaive", "AutoETS", "Ensemble"]
    manifest = stage(s3, tiny_weights, monthly_frame(), {**REQUEST, "models": models})
    assert work(s3, manifest, tmp_path / "run")[0] == 0
    results = tmp_path / "run" / "results"
    metadata = parse("model_metadata", (results / "model_metadata.json").read_bytes())
    assert sorted(row["model"] for row in metadata["leaderboard"]["rows"]) == sorted(models)
    assert metadata["leaderboard"]["sentences"]
    backtest = {name: pd.read_parquet(results / "backtest" / f"{name}.parquet") for name in models}
    first = backtest["AutoETS"]["cutoff"] == backtest["AutoETS"]["cutoff"].min()
    mean = (backtest["AutoETS"]["point"] + backtest["SeasonalNaive"]["point"]) / 2
    np.testing.assert_allclose(backtest["Ensemble"]["point"][first], mean[first])
    weights = json.loads((results / "models" / "Ensemble" / "settings.json").read_text())["weights"]
    final = pd.read_parquet(results / "forecasts" / "Ensemble.parquet")
    parts = [
        weights[-1][name] * pd.read_parquet(results / "forecasts" / f"{name}.parquet")["q0.9"]
        for name in ("AutoETS", "SeasonalNaive")
    ]
    np.testing.assert_allclose(final["q0.9"], sum(parts))


def test_a_fine_tuned_model_is_trained_before_the_first_window_and_kept(
    s3: Any, tiny_weights: Path, tmp_path: Path
) -> None:
    asked = {**REQUEST, "models": ["ChronosZeroShot", "ChronosFineTuned"], "fine_tuning_steps": 20,
             "fine_tuning_learning_rate": 0.001, "fine_tuning_batch_size": 8}  # fmt: skip
    code, events = work(s3, stage(s3, tiny_weights, monthly_frame(), asked), tmp_path / "run")
    assert code == 0
    steps = [e for e in events if e["event"] == "progress" and e["progress"]["unit"] == "fine-tuning steps"]
    assert steps[-1]["progress"]["step"] == 20
    assert steps[-1]["progress"]["loss"] > 0
    results = tmp_path / "run" / "results"
    metadata = parse("model_metadata", (results / "model_metadata.json").read_bytes())
    told = metadata["lineage"]["fine_tuning"]
    assert told["best_validation_loss"] <= told["first_validation_loss"]
    assert len(told["loss_curve"]) == told["steps"]
    assert (results / "models" / "ChronosFineTuned" / "model.safetensors").is_file()
    assert "before the first window" in metadata["models"]["ChronosFineTuned"]["refit"]


def test_covariates_reach_the_models_that_take_them_and_are_named_by_the_others(
    s3: Any, tiny_weights: Path, tmp_path: Path
) -> None:
    frame = monthly_frame()
    steps = frame.groupby("unique_id").cumcount()
    frame["promotion"] = (steps % 7 == 0).astype(float)
    frame["y"] += 40 * frame["promotion"]
    future = frame.groupby("unique_id").tail(4).copy()
    future["ds"] = future["ds"] + pd.DateOffset(months=4)
    future["y"], future["promotion"] = np.nan, [0.0, 0.0, 0.0, 1.0] * 3
    frame = pd.concat([frame, future]).sort_values(["unique_id", "ds"])
    models = ["AutoARIMA", "SeasonalNaive"]
    asked = {**REQUEST, "models": models, "known_covariates": ["promotion"], "season_length": 1}
    assert work(s3, stage(s3, tiny_weights, frame, asked), tmp_path / "run")[0] == 0
    results = tmp_path / "run" / "results"
    metadata = parse("model_metadata", (results / "model_metadata.json").read_bytes())
    assert metadata["models"]["AutoARIMA"]["ignored_covariates"] == []
    assert metadata["models"]["SeasonalNaive"]["ignored_covariates"] == ["promotion"]
    forecast = pd.read_parquet(results / "forecasts" / "AutoARIMA.parquet")
    last = forecast.groupby("unique_id")["point"].apply(lambda point: point.iloc[-1] - point.iloc[:-1].mean())
    assert (last > 20).all()


def test_chronos_without_weights_is_not_replaced_by_another_model(s3: Any, tiny_weights: Path, tmp_path: Path) -> None:
    manifest = {**stage(s3, tiny_weights, monthly_frame(), REQUEST), "chronos_weights": None}
    code, events = work(s3, manifest, tmp_path / "run")
    assert (code, failure(events)[0]) == (1, "ModelWeightsMissing")


def test_a_sampling_model_gives_the_same_after_a_resume(s3: Any, tmp_path: Path) -> None:
    make_chronos_t5(tmp_path / "t5")
    manifest = stage(s3, tmp_path / "t5", monthly_frame(), {**REQUEST, "models": ["ChronosZeroShot"]})
    work(s3, manifest, tmp_path / "one")
    kept = f"{storage().folder}checkpoints/ChronosZeroShot/"
    for chunk in (1, 2):
        s3.delete_object(Bucket=BUCKET, Key=f"{kept}chunk-0000{chunk}.safetensors")
    _, events = work(s3, manifest, tmp_path / "two", attempt=2)
    assert details(events, "training")["details"]["units_resumed"] == 1
    one, two = (pd.read_parquet(tmp_path / run / "results/forecasts/ChronosZeroShot.parquet") for run in ("one", "two"))
    pd.testing.assert_frame_equal(one, two)
