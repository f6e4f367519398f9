"""One embedded cloud with the real stack for all end-to-end tests, shared by all pytest workers. Runs with pytest."""

import fcntl
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from local.aws_faults import AwsFaults
from local.cloud import LocalCloud
from tests.e2e.runner import Runner

REPOSITORY = Path(__file__).parent.parent.parent
WEIGHTS = REPOSITORY / "models" / "chronos-bolt-nano"
NO_CAPACITY = "g4dn.xlarge"


@dataclass
class Faulty:
    """A cloud whose AWS can be made to fail for the controller."""

    runner: Runner
    aws: AwsFaults


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    base = tmp_path_factory.getbasetemp()
    return base if worker_id == "master" else base.parent


@pytest.fixture(scope="session")
def runner(shared_folder: Path) -> Iterator[Runner]:
    """The first worker deploys the stack, the last one takes it down. IAM is enforced, and may refuse nothing."""
    cloud = LocalCloud(shared_folder / "e2e-cloud")
    with _users(shared_folder) as users:
        if users == 1:
            _deploy(cloud)
    yield Runner(cloud)
    with _users(shared_folder, -1) as users:
        if users == 0:
            cloud.stop()
            refused = [check for check in recorded(cloud) if not check["allowed"]]
            assert refused == [], "a role of the stack lacks a permission: see infra/permissions.py"


def recorded(cloud: LocalCloud) -> list[dict[str, Any]]:
    """Return what IAM judged for the stack's roles so far, the CDK's own left out."""
    checks = [json.loads(line) for line in cloud.folder.permissions.read_text().splitlines()]
    return [check for check in checks if ":assumed-role/ChronosTraining-" in check["principal"]]


@pytest.fixture(scope="session")
def faulty_session(shared_folder: Path) -> Iterator[Faulty]:
    """A second cloud whose Lambdas reach AWS through a proxy; a minute of its instances' shutdown takes a second."""
    cloud = LocalCloud(shared_folder / "faulty-cloud")
    port = shared_folder / "faulty-port"
    with _users(shared_folder, name="faulty") as users:
        if users == 1:
            aws = AwsFaults()
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("SFN_WAIT_SCALE", "0.2")
                patch.setenv("CHRONOS_LOCAL_MINUTE_SECONDS", "1")
                cloud.start(detached=True, controller_endpoint=aws.url)
            aws.start(cloud)
            cloud.deploy()
            fill(Runner(cloud))
            port.write_text(str(aws.port))
    yield Faulty(Runner(cloud), AwsFaults(int(port.read_text())))
    with _users(shared_folder, -1, name="faulty") as users:
        if users == 0:
            cloud.stop()


@pytest.fixture
def faulty(faulty_session: Faulty, shared_folder: Path) -> Iterator[Faulty]:
    """That cloud for one test at a time, since a fault meets every run, with all well before and after."""
    with (shared_folder / "faulty-turn.lock").open("a+") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        faulty_session.aws.set()
        yield faulty_session
        faulty_session.aws.set()


@contextmanager
def _users(folder: Path, change: int = 1, name: str = "e2e") -> Iterator[int]:
    with (folder / f"{name}-users.lock").open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        count = folder / f"{name}-users"
        users = (int(count.read_text()) if count.exists() else 0) + change
        count.write_text(str(users))
        yield users


def _deploy(cloud: LocalCloud) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SFN_WAIT_SCALE", "0.2")
        cloud.start(detached=True, enforce_iam=True)
    cloud.deploy()
    runner = Runner(cloud)
    fill(runner)


def fill(runner: Runner) -> None:
    """Put weights and data sets into the bucket, and take the capacity for one instance type away."""
    runner.faults.set_capacity({NO_CAPACITY: "InsufficientInstanceCapacity"})
    s3 = runner.client("s3")
    for name in ("config.json", "model.safetensors"):
        s3.upload_file(str(WEIGHTS / name), runner.bucket, f"cached-models/{WEIGHTS.name}/{name}")
    s3.put_object(Bucket=runner.bucket, Key="datasets/wrong-column/data.parquet", Body=_wrong_column())
    s3.put_object(
        Bucket=runner.bucket, Key="datasets/long/data.csv", Body=_csv(series=16, length=700, freq="D", season=7)
    )
    s3.put_object(
        Bucket=runner.bucket, Key="datasets/many/data.csv", Body=_csv(series=200, length=300, freq="D", season=7)
    )
    # Uploaded last, so it is the one that `{}` takes.
    s3.put_object(
        Bucket=runner.bucket, Key="datasets/small/data.csv", Body=_csv(series=3, length=72, freq="MS", season=12)
    )


def _csv(series: int, length: int, freq: str, season: int) -> bytes:
    """Return seasonal series with trend and noise in long format."""
    rng = np.random.default_rng(7)
    t = np.arange(length)
    frames = [
        pd.DataFrame({
            "unique_id": f"series-{i}",
            "ds": pd.date_range("2015-01-01", periods=length, freq=freq).strftime("%Y-%m-%d"),
            "y": 50 + 0.05 * i * t + 10 * np.sin(2 * np.pi * t / season) + rng.normal(0, 2, length),
        })
        for i in range(series)
    ]  # fmt: skip
    return pd.concat(frames).to_csv(index=False).encode()


def _wrong_column() -> bytes:
    buffer = io.BytesIO()
    frame = pd.DataFrame({"unique_id": ["a"] * 30, "ds": pd.date_range("2020-01-01", periods=30), "price": 1.0})
    frame.to_parquet(buffer)
    return buffer.getvalue()


@pytest.fixture
def long_run() -> dict[str, object]:
    """A request that trains for a minute or more: enough to break it in the middle."""
    return {
        "dataset": "long",
        "models": ["AutoETS"],
        "refit": "form",
        "prediction_length": 7,
        "n_windows": 25,
        "heartbeat_timeout_seconds": 12,
    }
