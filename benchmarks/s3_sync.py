"""Time the data sync of a run against `aws s3 sync`: 5,000 small files, and 4 files of 256 MB. Runs on any computer.

`python -m benchmarks.s3_sync` takes about two minutes and 5 GB of disk. Both sides read the same objects from the same
server, the S3 of the embedded cloud, turn by turn. Each turn is a process of its own, from its start to its end, as a
person feels it; what is left without the start (a sync of nothing) is printed too. Ours is
`instance.data_sync.download`, with its checks of size, ETag and SHA-256, which `aws s3 sync` does not make.

The server is one Python process that takes about 0.5 ms for a small GET, and that limits ours before the client does:
the ratio for small files would be larger with a faster server. There is neither TLS nor distance here, so this
compares the CPU time that the two clients need for a byte and for an object, not their speed on a network.
"""

import io
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.rows import Row, row
from instance.data_sync import download
from instance.objects import s3_client, upload_all
from instance.reporting import Reporter
from local.cloud import LocalCloud

BUCKET = "sync-benchmark"
ROUNDS = 3
MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Case:
    """Objects to sync: how many, their size in bytes, and the ratio to reach."""

    name: str
    prefix: str
    count: int
    size: int
    reach: float


CASES = [
    Case("S3 data sync, 5,000 small files: aws s3 sync / ours", "datasets/small/", 5000, 4096, 2.0),
    Case("S3 data sync, 4 files of 256 MB: aws s3 sync / ours", "datasets/large/", 4, 256 * MEGABYTE, 1.0),
]
NOTHING = Case("nothing", "datasets/none/", 0, 0, 0.0)


def measure() -> list[Row]:
    """Return a row of each case; its value is the median time of `aws s3 sync` over that of ours."""
    with tempfile.TemporaryDirectory() as name, _server(Path(name) / "cloud") as environment:
        folder = Path(name)
        aws_start, own_start = _medians(NOTHING, folder, environment)
        print(f"start alone: aws s3 sync {aws_start:.2f} s, ours {own_start:.2f} s")
        return [_measured(case, folder, environment, aws_start, own_start) for case in CASES]


def _measured(case: Case, folder: Path, environment: dict[str, str], aws_start: float, own_start: float) -> Row:
    _stage(case, folder, environment)
    aws, own = _medians(case, folder, environment)
    without = (aws - aws_start) / (own - own_start)
    print(f"{case.name} = {aws:.2f} s / {own:.2f} s = {aws / own:.2f} (without the start {without:.2f})")
    return row(case.name, aws / own, case.reach)


@contextmanager
def _server(folder: Path) -> Iterator[dict[str, str]]:
    """Run the embedded cloud's server with an empty bucket; yields the environment that leads AWS clients to it."""
    cloud = LocalCloud(folder)
    cloud.start()
    try:
        environment = {**os.environ, **cloud.credentials()}
        _in_child(environment, "create")
        yield environment
    finally:
        cloud.stop()


def _stage(case: Case, folder: Path, environment: dict[str, str]) -> None:
    source = folder / "source" / case.prefix
    source.mkdir(parents=True)
    rng = random.Random(0)  # noqa: S311 - no secret
    for i in range(case.count):
        (source / f"part-{i:05d}.parquet").write_bytes(rng.randbytes(case.size))
    _in_child(environment, "stage", str(source), case.prefix, str(_manifest(case, folder)))
    shutil.rmtree(source)


def _medians(case: Case, folder: Path, environment: dict[str, str]) -> tuple[float, float]:
    """Return the median seconds of `aws s3 sync` and of ours, measured by turns."""
    if case is NOTHING:
        _manifest(case, folder).write_text(json.dumps(_as_manifest(case, [])))
    into = folder / "copy"
    seconds = [
        (
            _timed(case, into, lambda: _aws(case, into, environment)),
            _timed(case, into, lambda: _in_child(environment, "sync", str(_manifest(case, folder)), str(into))),
        )
        for _ in range(ROUNDS)
    ]
    return median(aws for aws, _ in seconds), median(own for _, own in seconds)


def _timed(case: Case, into: Path, act: Callable[[], None]) -> float:
    into.mkdir()
    try:
        begun = time.perf_counter()
        act()
        taken = time.perf_counter() - begun
        sizes = [path.stat().st_size for path in into.rglob("*.parquet")]
    finally:
        shutil.rmtree(into)
    if sizes != [case.size] * case.count:
        raise RuntimeError(f"{case.name}: expected {case.count} files of {case.size} bytes, found {len(sizes)} files.")
    return taken


def _aws(case: Case, into: Path, environment: dict[str, str]) -> None:
    command = ["aws", "s3", "sync", f"s3://{BUCKET}/{case.prefix}", str(into), "--only-show-errors"]
    subprocess.run(command, env=environment, check=True)  # noqa: S603 - the aws of our own environment


def _in_child(environment: dict[str, str], *arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "benchmarks.s3_sync", *arguments], env=environment, check=True)  # noqa: S603


def _manifest(case: Case, folder: Path) -> Path:
    return folder / f"{case.prefix.strip('/').replace('/', '-')}.json"


def _as_manifest(case: Case, objects: list[dict[str, Any]]) -> dict[str, Any]:
    return {"bucket": BUCKET, "dataset": {"prefix": case.prefix, "objects": objects}, "chronos_weights": None}


def _create() -> None:
    s3_client().create_bucket(Bucket=BUCKET)


def _upload(source: Path, prefix: str, manifest: Path) -> None:
    """Upload the files, and write what a manifest says of them."""
    client = s3_client()
    files = [(path.name, path) for path in sorted(source.iterdir())]
    upload_all(client, BUCKET, prefix, files, lambda _: None)
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
    found = [item for page in pages for item in page["Contents"]]
    objects = [{"key": item["Key"], "bytes": item["Size"], "etag": item["ETag"]} for item in found]
    case = next(case for case in CASES if case.prefix == prefix)
    manifest.write_text(json.dumps(_as_manifest(case, objects)))


def _sync(manifest: Path, into: Path) -> None:
    download(s3_client(), json.loads(manifest.read_text()), into, Reporter(io.StringIO()), {})


def main(arguments: list[str]) -> int:
    """Print the figures; with arguments, do one step of the work, as a child process."""
    match arguments:
        case ["create"]:
            _create()
        case ["stage", source, prefix, manifest]:
            _upload(Path(source), prefix, Path(manifest))
        case ["sync", manifest, into]:
            _sync(Path(manifest), Path(into))
        case _:
            return 0 if all(figure["holds"] for figure in measure()) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
