"""The worker's four phases on a small data set: artifacts, resuming, and how each phase fails."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from contracts.documents import parse
from instance.models.auto_ets import AutoETS
from instance.reporting import Interrupted, Reporter
from instance.worker import Worker
from tests.instance.samples import BUCKET, monthly_frame, stage, storage
from tests.instance.worker_attempt import REQUEST, details, failure, work


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
        head = s3.head_object(Bucket=BUCKET, Key=storage().folder + entry["path"], ChecksumMode="ENABLED")
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
    models: list[Any] = []

    def interrupted_after_the_first_chunk(self: Any, windows: Any, *arguments: Any) -> Any:
        models.append(self)
        # The third chunk may have begun when the second is interrupted.
        if self is models[0] and windows[0].ids != ["series-0"]:
            raise Interrupted
        computed.extend(windows[0].ids)
        return real(self, windows, *arguments)

    monkeypatch.setattr(AutoETS, "forecast", interrupted_after_the_first_chunk)
    monkeypatch.setattr("instance.lanes.CHUNKS_AT_ONCE", 1)
    code, events = work(s3, manifest, tmp_path / "first")
    assert (code, details(events, "training")["status"]) == (2, "interrupted")
    code, events = work(s3, manifest, tmp_path / "second", attempt=2)
    assert (code, computed) == (0, ["series-0", "series-1", "series-2"])
    # Both models of the first chunk, Chronos of the second and perhaps of the third.
    assert details(events, "training")["details"]["units_resumed"] in (3, 4)
    work(s3, manifest, tmp_path / "fresh")
    for path in ("backtest/AutoETS.parquet", "forecasts/ChronosZeroShot.parquet"):
        resumed, fresh = (pd.read_parquet(tmp_path / run / "results" / path) for run in ("second", "fresh"))
        pd.testing.assert_frame_equal(resumed, fresh)


def test_other_data_or_damage_makes_a_checkpoint_worthless(s3: Any, tiny_weights: Path, tmp_path: Path) -> None:
    request = {**REQUEST, "models": ["AutoETS"]}
    manifest = stage(s3, tiny_weights, monthly_frame(), request)
    work(s3, manifest, tmp_path / "one")
    s3.put_object(Bucket=BUCKET, Key=f"{storage().folder}checkpoints/AutoETS/chunk-00001.safetensors", Body=b"damaged")
    _, events = work(s3, manifest, tmp_path / "two", attempt=2)
    assert details(events, "training")["details"]["units_resumed"] == 2
    changed = stage(s3, tiny_weights, monthly_frame(length=59), request)
    _, events = work(s3, changed, tmp_path / "three", attempt=3)
    assert "units_resumed" not in details(events, "training")["details"]


def test_a_checkpoint_that_cannot_be_kept_does_not_end_the_run(
    s3: Any, tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = s3.put_object

    def refuses_checkpoints(**asked: Any) -> Any:
        if asked["Key"].startswith(f"{storage().folder}checkpoints/"):
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
    assert Worker(s3, manifest, storage(), tmp_path / "run", Reporter(stream), cpu_allowed=True).run() == 0


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
