"""Measure the controller: bundle, imports, transitions, seconds from the last report to the end of the machine.

Runs on any computer: `python -m benchmarks.controller` (about a minute), on an embedded cloud of its own.
"""

import io
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from contracts import layout
from infra.bundles import lambda_bundle
from infra.workflow import ACCEPT_MEMORY_MIB
from lambdas.adapters.objects import Objects
from lambdas.core.acceptance import Stored
from lambdas.core.dataset_head import head_problems
from lambdas.flows import staged
from local.cloud import LocalCloud
from local.deployment import REPOSITORY, client

HANDLERS = sorted(path.stem for path in (REPOSITORY / "lambdas").glob("*.py") if path.stem != "__init__")
IMPORTS = 3
# Lambda's share of a core: https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
MIB_OF_A_CORE = 1769
PATIENCE_SECONDS = 120.0
_BEGIN = datetime(1990, 1, 1)


def main() -> int:
    """Print every figure with what it is of."""
    folder = lambda_bundle()
    print(f"Lambda bundle: {_zipped(folder) / 1024:.0f} KiB zipped, {_unzipped(folder) / 1024:.0f} KiB unzipped")
    base = _import_seconds(folder, "boto3")
    print(f"import of boto3 alone: {base:.2f} s (the runtime's own, here for comparison; {sys.version.split()[0]})")
    for name in HANDLERS:
        seconds = _import_seconds(folder, f"lambdas.{name}")
        print(f"import of lambdas.{name:<18} {seconds:.2f} s, ratio to boto3 alone {seconds / base:.2f}")
    _measure_heads()
    with tempfile.TemporaryDirectory() as state:
        cloud = LocalCloud(Path(state))
        cloud.start()
        try:
            cloud.deploy()
            _measure_run(cloud.environment())
        finally:
            cloud.stop()
    return 0


def _measure_heads() -> None:
    """Print the time that AcceptRun takes to look at the largest valid data set: files it may just read to the end."""
    rows = (f"series-{n // 2000},{_BEGIN + timedelta(hours=n % 2000):%Y-%m-%dT%H:%M:%S},{n % 97}.5\n" for n in count())
    lines, size = ["unique_id,ds,y\n"], 15
    while size < staged.CHECKED_BYTES - 64:
        lines.append(next(rows))
        size += len(lines[-1])
    stored = _OneFile("".join(lines).encode())
    files = [Stored(f"datasets/large/{n}.csv", size, "", 0) for n in range(staged.CHECKED_FILES)]
    begun = time.process_time()
    head_problems(staged.heads(stored, files))
    core = time.process_time() - begun
    print(
        f"AcceptRun, {len(files)} CSV files of {size / 2**20:.2f} MiB: {stored.read / 2**20:.0f} MiB read, "
        f"{core:.1f} s of a core, {core * MIB_OF_A_CORE / ACCEPT_MEMORY_MIB:.0f} s at {ACCEPT_MEMORY_MIB} MiB, "
        f"without the time of S3 (allowed: {staged.CHECKED_SECONDS:.0f} s)"
    )


class _OneFile(Objects):
    """A bucket in which every key holds the same content; counts the bytes read."""

    def __init__(self, content: bytes) -> None:
        super().__init__("none")
        self._content, self.read = content, 0

    def head(self, key: str, limit: int) -> bytes:  # noqa: ARG002 - every key is the same
        self.read += min(limit, len(self._content))
        return self._content[:limit]


def _zipped(folder: Path) -> int:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*.*")):
            archive.write(path, path.relative_to(folder))
    return len(buffer.getvalue())


def _unzipped(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _import_seconds(folder: Path, module: str) -> float:
    """Return the best of a few imports, each in a process of its own with the bundle first on the path."""
    code = f"import time; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)"
    times = []
    for _ in range(IMPORTS):
        done = subprocess.run(  # noqa: S603 - this interpreter and our own modules
            [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True
        )
        times.append(float(done.stdout))
    return min(times)


def _measure_run(environment: dict[str, str]) -> None:
    s3, states, ec2 = (client(environment, name) for name in ("s3", "stepfunctions", "ec2"))
    s3.put_object(Bucket=environment["BUCKET"], Key="datasets/small/data.csv", Body=_csv())
    request = '{"models": ["AutoETS"]}'
    begun = time.time()
    arn = states.start_execution(stateMachineArn=environment["STATE_MACHINE_ARN"], input=request)["executionArn"]
    key = _until(lambda: _state_key(s3, environment["BUCKET"]))
    _until(lambda: b'"completed"' in s3.get_object(Bucket=environment["BUCKET"], Key=key)["Body"].read())
    said = time.time()
    _until(lambda: not _running(ec2))
    ended = time.time()
    _until(lambda: states.describe_execution(executionArn=arn)["status"] == "SUCCEEDED")
    closed = time.time()
    history = states.get_execution_history(executionArn=arn, maxResults=1000)["events"]
    entered = [event for event in history if event["type"].endswith("StateEntered")]
    cleanup = next(e for e in entered if e["stateEnteredEventDetails"]["name"] == "Cleanup")
    print(f"run: {said - begun:.1f} s from start-execution to the last report, {closed - begun:.1f} s to SUCCEEDED")
    print(f"state transitions: {len(entered)}")
    print(f"from the last report in S3 to the instance no longer running: {ended - said:.2f} s (it ends itself)")
    print(f"from the last report in S3 to the Cleanup state: {cleanup['timestamp'].timestamp() - said:.2f} s")


def _csv() -> str:
    t = np.arange(72)
    frame = pd.DataFrame({"unique_id": "a", "ds": pd.date_range("2015-01-01", periods=72, freq="MS")})
    frame["y"] = 50 + 10 * np.sin(2 * np.pi * t / 12) + np.random.default_rng(0).normal(0, 1, 72)
    return str(frame.to_csv(index=False))


def _state_key(s3: Any, bucket: str) -> str | None:
    found = s3.list_objects_v2(Bucket=bucket, Prefix=layout.RUNS).get("Contents", [])
    keys = [item["Key"] for item in found if item["Key"].endswith(layout.SYSTEM_STATE)]
    return keys[0] if keys else None


def _running(ec2: Any) -> bool:
    pages = ec2.describe_instances(Filters=[{"Name": "instance-state-name", "Values": ["pending", "running"]}])
    return bool(pages["Reservations"])


def _until(look: Callable[[], Any]) -> Any:
    gives_up_at = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < gives_up_at:
        found = look()
        if found:
            return found
        time.sleep(0.05)
    raise TimeoutError(f"waited {PATIENCE_SECONDS:.0f} s")


if __name__ == "__main__":
    sys.exit(main())
