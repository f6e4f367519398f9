"""Whole attempts, supervisor and worker as processes: each writes below its own folder and reads the earlier ones."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from contracts.documents import dump, parse
from tests.instance.bucket_over_http import READS, served
from tests.instance.samples import BUCKET, PREFIX, ROLE_ID, RUN_ID, monthly_frame, stage, storage

MANIFEST = f"{PREFIX}manifest.json"
INPUTS = ("datasets/demo/", "cached-models/tiny-bolt/")
REQUEST = {
    "prediction_length": 4, "n_windows": 1, "models": ["SeasonalNaive", "ChronosFineTuned"], "fine_tuning_steps": 20,
    "fine_tuning_learning_rate": 0.001, "fine_tuning_batch_size": 8,
}  # fmt: skip


def instance_id(attempt: int) -> str:
    return storage(attempt).folder.rpartition(":")[2].rstrip("/")


def run_attempt(attempt: int, folder: Path, endpoint: str) -> None:
    """Run the supervisor, which runs the worker, to the end of the attempt."""
    earlier = " ".join(instance_id(one) for one in range(1, attempt))
    command = [
        sys.executable, "-m", "instance.main", f"--bucket={BUCKET}", f"--prefix={PREFIX}", f"--run-id={RUN_ID}",
        f"--attempt={attempt}", f"--role-id={ROLE_ID}", f"--instance-id={instance_id(attempt)}",
        f"--earlier-instances={earlier}", "--instance-type=g4dn.2xlarge", "--market=spot",
        f"--work-dir={folder}", f"--log-dir={folder / 'log'}",
    ]  # fmt: skip
    machine = {"AWS_ENDPOINT_URL": endpoint, "AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:9"}
    subprocess.run(command, env={**os.environ, **machine}, check=True, timeout=120, capture_output=True)


def stored(client: Any) -> dict[str, str]:
    """Each object of the bucket and the hash of what it holds."""
    return {item["Key"]: item["ETag"] for item in client.list_objects_v2(Bucket=BUCKET)["Contents"]}


def training(client: Any, attempt: int) -> dict[str, Any]:
    body = client.get_object(Bucket=BUCKET, Key=f"{storage(attempt).folder}training.json")["Body"].read()
    return parse("training", body)


def details(client: Any, attempt: int) -> dict[str, Any]:
    found: dict[str, Any] = training(client, attempt)["phases"]["training"]
    return found


@pytest.fixture
def staged(s3: Any, tiny_weights: Path) -> Any:
    s3.put_object(Bucket=BUCKET, Key=MANIFEST, Body=dump("manifest", stage(s3, tiny_weights, monthly_frame(), REQUEST)))
    return s3


def test_an_attempt_writes_below_its_own_folder_and_reads_what_it_may(staged: Any, tmp_path: Path) -> None:
    before, own = stored(staged), storage(2).folder
    with served(staged) as (endpoint, asked):
        run_attempt(2, tmp_path, endpoint)
    written = {key for method, key in asked if method not in READS}
    assert {key for key in written if not key.startswith(own)} == set()
    assert {key: tag for key, tag in stored(staged).items() if not key.startswith(own)} == before
    kept = f"{storage(1).folder}checkpoints/"
    read = {key for method, key in asked if method in READS}
    assert {key for key in read if not key.startswith((own, kept, *INPUTS)) and key != MANIFEST} == set()
    assert any(key.startswith(kept) for key in read)
    told = training(staged, 2)
    assert told["status"] == "completed"
    artifacts = {own + entry["path"] for entry in told["artifacts"]}
    reports = {own + name for name in ("system-state.json", "training.json", "logs/training.log")}
    checkpoints = {key for key in written if key.startswith(f"{own}checkpoints/")}
    assert written == artifacts | reports | checkpoints
    assert {key.split("/")[-2] for key in checkpoints} == {"SeasonalNaive", "ChronosFineTuned"}


def test_a_third_attempt_takes_up_what_only_the_first_had(staged: Any, tmp_path: Path) -> None:
    with served(staged) as (endpoint, _):
        run_attempt(1, tmp_path / "one", endpoint)
        units = details(staged, 1)["chunks"] * 2
        assert "units_resumed" not in details(staged, 1)
        run_attempt(2, tmp_path / "two", endpoint)
        run_attempt(3, tmp_path / "three", endpoint)
    assert not [key for key in stored(staged) if key.startswith(f"{storage(2).folder}checkpoints/")]
    for attempt in (2, 3):
        assert details(staged, attempt)["units_resumed"] == units
        assert details(staged, attempt)["fine_tuning"]["resumed_from_step"] == 20
