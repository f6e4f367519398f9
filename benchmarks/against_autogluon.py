"""AutoGluon-TimeSeries against a run's training phase, on the same file and weights. Runs on a developer's computer."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.rows import Row, row
from benchmarks.training_runs import BOLT_TINY, NANO, NANO_066, ROOT, bolt_folder, metadata, write_long_parquet

ENVIRONMENT = ROOT / ".venv-autogluon"
REQUIREMENTS = ROOT / "benchmarks" / "autogluon-requirements.txt"
N_SERIES, LENGTH, HORIZON = 5000, 512, 24
ROUNDS = 3
QUIET = {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}
SIDE = """import json, sys, time
from pathlib import Path
from benchmarks.training_runs import train
import instance.training, torch, chronos
data, weights, folder, horizon = sys.argv[1:]
began = time.perf_counter()
request = {"models": ["ChronosZeroShot"], "n_windows": 1, "prediction_length": int(horizon), "metrics": ["wql"]}
train(Path(data), Path(folder), request, Path(weights))
print(json.dumps({"seconds": time.perf_counter() - began}))
"""


def measure() -> list[Row]:
    """Time both from the Parquet file to forecasts and WQL of one window, each in a process, after its imports."""
    python = environment()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        data = write_long_parquet(scratch / "data.parquet", N_SERIES, LENGTH)
        tiny = bolt_folder(scratch / "bolt-tiny-dimensions", BOLT_TINY)
        small = bolt_folder(scratch / "nano-dimensions", NANO_066)
        return [
            _compare(python, data, small, scratch / "small", "dimensions of the 0.66 M nano", 4.0),
            # Patches of 8 values instead of 16: for each series they compute as much as bolt-tiny's dimensions.
            _compare(python, data, NANO, scratch / "nano", "bundled 1.22 M weights", 1.3),
            _compare(python, data, tiny, scratch / "tiny", "bolt-tiny dimensions", 1.3),
        ]


def environment() -> Path:
    """Return the Python of AutoGluon's environment, made the first time (about 2 GB, some minutes)."""
    python = ENVIRONMENT / "bin" / "python"
    ready = ENVIRONMENT / ".ready"
    if not ready.exists():
        print("  installing AutoGluon into .venv-autogluon", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(ENVIRONMENT)], check=True)  # noqa: S603
        install = [str(python), "-m", "pip", "install", "--quiet", "-r", str(REQUIREMENTS)]
        subprocess.run(install, check=True)  # noqa: S603
        ready.touch()
    return python


def _compare(python: Path, data: Path, weights: Path, scratch: Path, what: str, reach: float) -> Row:
    theirs, ours = [], []
    for turn in range(ROUNDS):
        target = scratch / f"autogluon-{turn}.parquet"
        target.parent.mkdir(parents=True, exist_ok=True)
        side = str(ROOT / "benchmarks" / "autogluon_process.py")
        rival = _timed([str(python), side, str(data), str(weights), str(HORIZON), "h", str(target)])
        mine = scratch / f"ours-{turn}"
        own = _timed([sys.executable, "-c", SIDE, str(data), str(weights), str(mine), str(HORIZON)])
        theirs.append(rival["seconds"])
        ours.append(own["seconds"])
        wql = metadata(mine)["models"]["ChronosZeroShot"]["metrics"]["wql"]
        print(
            f"  {what}: AutoGluon {rival['seconds']:.1f} s (WQL {rival['wql']:.4f}), "
            f"ours {own['seconds']:.1f} s (WQL {wql:.4f})",
            flush=True,
        )
    return row(
        f"{N_SERIES:,} series of {LENGTH} points: AutoGluon / ours, {what}", median(theirs) / median(ours), reach
    )


def _timed(command: list[str]) -> dict[str, Any]:
    began = time.perf_counter()
    environ = {**os.environ, **QUIET, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environ)  # noqa: S603
    if done.returncode:
        raise RuntimeError(f"{command[1]} failed after {time.perf_counter() - began:.0f} s: {done.stderr[-2000:]}")
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer
