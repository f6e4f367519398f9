"""Measure every ratio that is promised, and write the table. Runs on a developer's computer."""

import argparse
import importlib
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.rows import Row

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results.json"
PAGE = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
# In the order of the table, each in a process of its own.
MEASUREMENTS = ("pipeline", "against_autogluon", "auto_ets", "fine_tuning", "overlap", "many_series", "s3_sync")
ONE = "import json, sys; from benchmarks.suite import one; one(sys.argv[1], sys.argv[2])"


def one(module: str, target: str) -> None:
    """Measure one module's rows and write them to a file; runs in a process of its own."""
    rows: list[Row] = importlib.import_module(f"benchmarks.{module}").measure()
    Path(target).write_text(json.dumps(rows))


def merged(old: Sequence[Row], new: Sequence[Row]) -> list[Row]:
    """Return the rows with those measured again replaced, in the order they were in."""
    latest = {row["name"]: row for row in new}
    kept = [latest.pop(row["name"], row) for row in old]
    return [*kept, *latest.values()]


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table."""
    lines = ["| ratio | measured | reach | |", "|---|---|---|---|"]
    for row in rows:
        lines.append(f"| {row['name']} | {row['value']:g} | {row['reach']} | {'yes' if row['holds'] else '**no**'} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the measurements named, or all; write benchmarks/results.json and docs/performance.md."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.suite", description=__doc__)
    parser.add_argument("modules", nargs="*", metavar="module", help=f"some of: {', '.join(MEASUREMENTS)}")
    asked = parser.parse_args(arguments).modules or list(MEASUREMENTS)
    unknown = sorted(set(asked) - set(MEASUREMENTS))
    if unknown:
        parser.error(f"expected some of {', '.join(MEASUREMENTS)}, found {unknown[0]}")
    rows: list[Row] = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    failed, measured = [], []
    for number, module in enumerate(asked, start=1):
        began = time.monotonic()
        print(f"[{number}/{len(asked)}] {module}", flush=True)
        found = _measured(module)
        if found is None:
            failed.append(module)
            continue
        rows = merged(rows, found)
        measured.append(module)
        write(rows, measured)
        for row in found:
            print(f"  {row['name']}: {row['value']:g}, reach {row['reach']}: {'yes' if row['holds'] else 'NO'}")
        print(f"  {time.monotonic() - began:.0f} s", flush=True)
    print(f"\n{table(rows)}\n\nWritten: {RESULTS.relative_to(ROOT)}, {PAGE.relative_to(ROOT)}")
    if failed:
        print(f"could not be measured: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def write(rows: Sequence[Row], measured: Sequence[str]) -> None:
    """Write the results and put their table into the page, which says what was `measured` in this call."""
    RESULTS.write_text(json.dumps(rows, indent=2) + "\n")
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    when = f"{datetime.now(UTC):%Y-%m-%d}, {machine}"
    PAGE.write_text(f"{before}{BEGIN}\n{table(rows)}\n\nMeasured last: {', '.join(measured)}; {when}.\n{END}{after}")


def _measured(module: str) -> list[Row] | None:
    target = ROOT / "build" / f"bench-{module}.json"
    target.parent.mkdir(exist_ok=True)
    target.unlink(missing_ok=True)
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}
    done = subprocess.run([sys.executable, "-c", ONE, module, str(target)], env=environ, check=False)  # noqa: S603
    rows: list[Row] | None = json.loads(target.read_text()) if not done.returncode and target.exists() else None
    return rows


if __name__ == "__main__":
    sys.exit(main())
