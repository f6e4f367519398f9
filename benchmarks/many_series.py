"""100,000 series on one machine: memory, time left, and what a kill costs. Runs on a developer's computer."""

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.rows import Row, row
from benchmarks.training_runs import ROOT, train, write_long_parquet

FEW, MANY, LENGTH = 10_000, 100_000, 500
REQUEST = {
    "models": ["ChronosZeroShot", "SeasonalNaive"], "prediction_length": 14, "n_windows": 1, "freq": "h",
    "metrics": ["mase", "wql"],
}  # fmt: skip
KILL_AT_SHARE = 0.4
LAST_SHARE = 0.05  # below this share of the whole time left, the error of an estimate says nothing


@dataclass
class Watched:
    """A training phase in a process of its own, and what it told.

    Parameters
    ----------
    seconds : float
        From the first report to the last.
    peak_bytes : int
        Its peak memory, of getrusage; 0 when it was killed.
    estimates : list of (float, float)
        Time and time left as told, of the forecasts.
    chunks_kept, units_resumed : int
        Checkpoints when it was killed, and those that were taken up.
    """

    seconds: float = 0.0
    peak_bytes: int = 0
    estimates: list[tuple[float, float]] = field(default_factory=list)
    chunks_kept: int = 0
    units_resumed: int = 0

    def worst_error(self, ended_at: float) -> float:
        """Return the largest relative error of the time left, from halfway on."""
        began = self.estimates[0][0]
        whole = ended_at - began
        late = [(at, told) for at, told in self.estimates if LAST_SHARE * whole < ended_at - at <= whole / 2]
        return max(abs(told - (ended_at - at)) / (ended_at - at) for at, told in late)


def measure() -> list[Row]:
    """Run 10,000 series, and 100,000 that are killed at 40 % and taken up by a second attempt, which is measured."""
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        few = write_long_parquet(scratch / "few.parquet", FEW, LENGTH)
        many = write_long_parquet(scratch / "many.parquet", MANY, LENGTH)
        small, _ = _watch(few, scratch / "few", scratch / "bucket-few")
        print(f"  {FEW:,} series: {small.seconds:.0f} s, peak {small.peak_bytes / 2**20:.0f} MiB", flush=True)
        killed, _ = _watch(many, scratch / "killed", scratch / "bucket", kill_at=KILL_AT_SHARE)
        again, ended_at = _watch(many, scratch / "again", scratch / "bucket", attempt=2)
        error = again.worst_error(ended_at)
        print(
            f"  {MANY:,} series: killed after {killed.seconds:.0f} s with {killed.chunks_kept} checkpoints; "
            f"taken up {again.units_resumed}, {again.seconds:.0f} s for the rest, "
            f"peak {again.peak_bytes / 2**20:.0f} MiB, time left wrong by at most {error:.0%} from halfway on",
            flush=True,
        )
    return [
        row("peak memory at 100,000 series / at 10,000", again.peak_bytes / small.peak_bytes, 1.25, at_most=True),
        row("100,000 series: largest error of the time left, from halfway on", error, 0.25, at_most=True),
        row("100,000 series: checkpoints taken up after a kill / those left by it",
            again.units_resumed / killed.chunks_kept, 1.0),
    ]  # fmt: skip


def _watch(
    data: Path, work_dir: Path, shelf: Path, kill_at: float | None = None, attempt: int = 1
) -> tuple[Watched, float]:
    command = [sys.executable, "-m", "benchmarks.many_series", str(data), str(work_dir), str(shelf), str(attempt)]
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}
    seen = Watched()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ, start_new_session=True) as child:  # noqa: S603
        began = ended_at = time.monotonic()
        for event in _events(child):
            progress = event.get("progress", {})
            if progress.get("unit") == "series forecasts":
                ended_at = time.monotonic()
                if "seconds_left" in progress:
                    seen.estimates.append((ended_at, progress["seconds_left"]))
                if kill_at is not None and progress["step"] >= kill_at * progress["total"]:
                    os.killpg(child.pid, signal.SIGKILL)
                    break
            seen.peak_bytes = event.get("peak_bytes", seen.peak_bytes)
            seen.units_resumed = event.get("units_resumed", seen.units_resumed)
        code = child.wait()
    if kill_at is None and code:
        raise RuntimeError(f"the training phase ended with {code}")
    seen.seconds = ended_at - began
    seen.chunks_kept = sum(1 for _ in shelf.rglob("chunk-*.safetensors"))
    return seen, ended_at


def _events(child: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    for line in child.stdout or ():
        if line.startswith("{"):
            yield json.loads(line)


def main(data: str, work_dir: str, shelf: str, attempt: str) -> None:
    """Be the child: run the training phase and tell of it on standard output."""
    details = train(Path(data), Path(work_dir), REQUEST, shelf=Path(shelf), attempt=int(attempt), events=sys.stdout)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"peak_bytes": peak, "units_resumed": details.get("units_resumed", 0)}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
