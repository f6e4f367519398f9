"""The worker's four phases on a small data set: artifacts, resuming, and how each phase fails."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from contracts.documents import parse
from instance.models.auto_ets import AutoETS, EtsMethod
from instance.reporting import Interrupted, Reporter
from instance.worker import Worker
from tests.instance.samples import BUCKET, PREFIX, monthly_frame, stage
from tests.instance.weights import make_chronos_t5

REQUEST = {"prediction_length": 4, "n_windows": 2}


def work(client: Any, manifest: dict[str, Any], folder: Path) -> tuple[int, list[dict[str, Any]]]:
    stream = io.StringIO()
    folder.mkdir(exist_ok=True)
    code = Worker(client, manifest, folder, Reporter(stream)).run()
    return code, [json.loads(line) for line in stream.getvalue().splitlines()]


def details(events: list[dict[str, Any]], phase: str) -> dict[str, Any]:
    return next(event for event in events if event["event"] == "finished" and event["phase"] == phase)


def failure(events: list[dict[str, Any]]) -> tuple[str, str]:
    told = next(event for event in events if event["event"] == "failed")
    return told["code"], told["message"]


def test_a_run_uploads_verified_artifacts_of_every_model(s3: Any, tiny_weights: Path, tmp_path: Path) -> None:
    manifest = stage(s3, tiny_weights, monthly_frame(), REQUEST)
    code, events = work(s3, manifest, tmp_path / "run")
    assert code == 0
    assert [event["phase"] for event in events if event["event"] == "phase"] == [
        "preflight",
        "data_sync",
        "training",
        "results_sync",
    ]
    artifacts = next(event for event in events if event["event"] == "artifacts")["artifacts"]
    assert sorted(entry["path"] for entry in artifacts) == [
        "backtest/AutoETS.parquet",
        "backtest/ChronosZeroShot.parquet",
        "forecasts/AutoETS.parquet",
        "forecasts/ChronosZeroShot.parquet",
        "model_metadata.json",
        "models/AutoETS/parameters.parquet",
        "models/AutoETS/settings.json",
        "models/ChronosZeroShot/config.json",
        "models/ChronosZeroShot/weights.json",
    ]
    for entry in artifacts:
        head = s3.head_object(Bucket=BUCKET, Key=PREFIX + entry["path"], ChecksumMode="ENABLED")
        assert head["ContentLength"] == entry["bytes"]
        assert head["ChecksumSHA256"]
    last = [event for event in events if event["event"] == "progress" and event["progress"]["unit"] != "files"][-1]
    assert last["progress"] == {"step": 2 * 3 * 3, "total": 2 * 3 * 3, "unit": "series forecasts", "seconds_left": 0}


def test_what_a_run_writes(s3: Any, tiny_weights: Path, tmp_path: Path) -> None:
    manifest = stage(s3, tiny_weights, monthly_frame(), REQUEST)
    work(s3, manifest, tmp_path / "run")
    results = tmp_path / "run" / "results"
    backtest = pd.read_parquet(results / "backtest" / "AutoETS.parquet")
    assert list(backtest.columns[:5]) == ["unique_id", "ds", "cutoff", "y", "point"]
    assert len(backtest) == 3 * 2 * 4
    assert (backtest["ds"] > backtest["cutoff"]).all()
    merged = backtest.merge(monthly_frame(), on=["unique_id", "ds"], suffixes=("", "_data"))
    np.testing.assert_allclose(merged["y"], merged["y_data"], rtol=1e-12)
    assert len(merged) == len(backtest)
    forecast = pd.read_parquet(results / "forecasts" / "ChronosZeroShot.parquet")
    assert forecast["ds"].min() == pd.Timestamp("2025-01-01")
    assert (np.diff(forecast[[f"q0.{i}" for i in range(1, 10)]], axis=1) >= 0).all()
    metadata = parse("model_metadata", (results / "model_metadata.json").read_bytes())
    assert metadata["data"]["freq"] == "MS"
    assert metadata["data"]["rows"] == 180
    errors = (backtest["y"] - backtest["point"]).abs()
    assert metadata["models"]["AutoETS"]["metrics"]["mae"] == pytest.approx(errors.mean())
    assert metadata["lineage"]["chronos_weights"] == "tiny-bolt"


def test_a_second_attempt_takes_up_what_the_first_finished(
    s3: Any, tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = stage(s3, tiny_weights, monthly_frame(), REQUEST)
    real = AutoETS.forecast
    computed: list[str] = []

    def interrupted_in_the_second_chunk(self: Any, windows: Any, *arguments: Any) -> Any:
        computed.extend(windows[0].ids)
        if computed == ["series-0", "series-1"]:
            raise Interrupted
        return real(self, windows, *arguments)

    monkeypatch.setattr(AutoETS, "forecast", interrupted_in_the_second_chunk)
    monkeypatch.setattr("instance.lanes.CHUNKS_AT_ONCE", 1)
    code, events = work(s3, manifest, tmp_path / "first")
    assert (code, details(events, "training")["status"]) == (2, "interrupted")
    code, events = work(s3, manifest, tmp_path / "second")
    assert (code, computed[2:]) == (0, ["series-1", "series-2"])
    # Both models of the first chunk, and Chronos of the second.
    assert details(events, "training")["details"]["units_resumed"] == 3
    code, _ = work(s3, {**manifest, "prefix": "phase1/2026/11/23-190000/"}, tmp_path / "fresh")
    for path in ("backtest/AutoETS.parquet", "forecasts/ChronosZeroShot.parquet"):
        resumed, fresh = (pd.read_parquet(tmp_path / run / "results" / path) for run in ("second", "fresh"))
        pd.testing.assert_frame_equal(resumed, fresh)


def test_other_data_or_damage_makes_a_checkpoint_worthless(s3: Any, tiny_weights: Path, tmp_path: Path) -> None:
    request = {**REQUEST, "models": ["AutoETS"]}
    manifest = stage(s3, tiny_weights, monthly_frame(), request)
    work(s3, manifest, tmp_path / "one")
    s3.put_object(Bucket=BUCKET, Key=f"{PREFIX}checkpoints/AutoETS/chunk-00001.safetensors", Body=b"damaged")
    _, events = work(s3, manifest, tmp_path / "two")
    assert details(events, "training")["details"]["units_resumed"] == 2
    changed = stage(s3, tiny_weights, monthly_frame(length=59), request)
    _, events = work(s3, changed, tmp_path / "three")
    assert "units_resumed" not in details(events, "training")["details"]


def test_a_checkpoint_that_cannot_be_kept_does_not_end_the_run(
    s3: Any, tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = s3.put_object

    def refuses_checkpoints(**asked: Any) -> Any:
        if asked["Key"].startswith(f"{PREFIX}checkpoints/"):
            return s3.get_object(Bucket=BUCKET, Key="nothing")
        return real(**asked)

    monkeypatch.setattr(s3, "put_object", refuses_checkpoints)
    manifest = stage(s3, tiny_weights, monthly_frame(), {**REQUEST, "models": ["AutoETS"]})
    assert work(s3, manifest, tmp_path / "run")[0] == 0


def test_no_gpu_fails_the_preflight_unless_allowed(s3: Any, tiny_weights: Path, tmp_path: Path) -> None:
    manifest = stage(s3, tiny_weights, monthly_frame(), {**REQUEST, "allow_cpu": False, "models": ["AutoETS"]})
    code, events = work(s3, manifest, tmp_path / "run")
    assert code == 1
    assert failure(events)[0] == "PreflightFailed"
    assert "expected a CUDA device, found none" in failure(events)[1]
    stream = io.StringIO()
    assert Worker(s3, manifest, tmp_path / "run", Reporter(stream), cpu_allowed=True).run() == 0


def test_too_little_disk_fails_the_preflight(s3: Any, tiny_weights: Path, tmp_path: Path) -> None:
    manifest = stage(s3, tiny_weights, monthly_frame(), REQUEST)
    manifest["dataset"]["objects"][0]["bytes"] = 1 << 60
    _, events = work(s3, manifest, tmp_path / "run")
    assert failure(events)[0] == "PreflightFailed"
    assert "GiB of free disk" in failure(events)[1]


def test_an_object_that_changed_since_acceptance_fails_the_data_sync(
    s3: Any, tiny_weights: Path, tmp_path: Path
) -> None:
    manifest = stage(s3, tiny_weights, monthly_frame(), REQUEST)
    s3.put_object(Bucket=BUCKET, Key="datasets/demo/a.csv", Body=b"other")
    _, events = work(s3, manifest, tmp_path / "run")
    assert failure(events)[0] == "DataSyncFailed"
    assert "Somebody changed the object" in failure(events)[1]


def test_a_missing_object_fails_the_data_sync(s3: Any, tiny_weights: Path, tmp_path: Path) -> None:
    manifest = stage(s3, tiny_weights, monthly_frame(), REQUEST)
    s3.delete_object(Bucket=BUCKET, Key="datasets/demo/a.csv")
    _, events = work(s3, manifest, tmp_path / "run")
    assert failure(events) == (
        "DataSyncFailed",
        "datasets/demo/a.csv: expected the object of the manifest, found none.",
    )


def test_a_key_cannot_reach_outside_the_folder(s3: Any, tiny_weights: Path, tmp_path: Path) -> None:
    manifest = stage(s3, tiny_weights, monthly_frame(), REQUEST)
    manifest["dataset"]["objects"][0]["key"] = "datasets/demo/../../../evil.csv"
    _, events = work(s3, manifest, tmp_path / "run")
    assert failure(events)[0] == "DataSyncFailed"
    assert "expected a plain path below datasets/demo/" in failure(events)[1]


def test_bad_data_is_named_with_file_column_and_row(s3: Any, tiny_weights: Path, tmp_path: Path) -> None:
    frame = monthly_frame().astype({"y": object})
    frame.loc[6, "y"] = "seven"
    code, events = work(s3, stage(s3, tiny_weights, frame, REQUEST), tmp_path / "run")
    assert code == 1
    assert failure(events) == ("DatasetInvalid", "a.csv: column y, row 7: expected a number, found 'seven'.")


def test_weights_with_a_pickle_are_refused(s3: Any, tiny_weights: Path, tmp_path: Path) -> None:
    s3.put_object(Bucket=BUCKET, Key="cached-models/tiny-bolt/pytorch_model.bin", Body=b"x")
    _, events = work(s3, stage(s3, tiny_weights, monthly_frame(), REQUEST), tmp_path / "run")
    assert failure(events)[0] == "ModelWeightsMissing"


def test_an_upload_that_s3_stored_otherwise_fails_the_results_sync(
    s3: Any, tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("instance.objects.FIRST_PAUSE_SECONDS", 0.0)
    real = s3.head_object
    monkeypatch.setattr(s3, "head_object", lambda **asked: {**real(**asked), "ContentLength": 1})
    manifest = stage(s3, tiny_weights, monthly_frame(), {**REQUEST, "models": ["AutoETS"]})
    _, events = work(s3, manifest, tmp_path / "run")
    assert failure(events)[0] == "ResultsSyncFailed"


def test_a_download_that_breaks_is_tried_again(
    s3: Any, tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("instance.objects.FIRST_PAUSE_SECONDS", 0.0)
    manifest = stage(s3, tiny_weights, monthly_frame(), {**REQUEST, "models": ["AutoETS"]})
    real, calls = s3.get_object, 0

    def breaks_once(**asked: Any) -> Any:
        nonlocal calls
        calls += asked["Key"].startswith("datasets/")
        if calls == 1 and asked["Key"].startswith("datasets/"):
            raise OSError("connection reset")
        return real(**asked)

    monkeypatch.setattr(s3, "get_object", breaks_once)
    code, events = work(s3, manifest, tmp_path / "run")
    assert (code, details(events, "data_sync")["details"]["retries"]) == (0, 1)


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
    for chunk in (1, 2):
        s3.delete_object(Bucket=BUCKET, Key=f"{PREFIX}checkpoints/ChronosZeroShot/chunk-0000{chunk}.safetensors")
    _, events = work(s3, manifest, tmp_path / "two")
    assert details(events, "training")["details"]["units_resumed"] == 1
    one, two = (pd.read_parquet(tmp_path / run / "results/forecasts/ChronosZeroShot.parquet") for run in ("one", "two"))
    pd.testing.assert_frame_equal(one, two)
