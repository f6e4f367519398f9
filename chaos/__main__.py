"""`make chaos`: run the fault matrix, print its table, exit with 1 when a case failed. Runs on a person's machine."""

import argparse
import multiprocessing
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any

from chaos import ledger
from chaos.cases import Case
from chaos.matrix import joined, matrix, sample
from chaos.pairs import pairs
from chaos.soak import soak
from chaos.worker import RECORDINGS, close, opened, record, run

SEED = 4
# A case waits more than it computes, so more of them than cores; each embedded cloud takes about 1 GB.
WORKERS = 4
SECONDS_BETWEEN_WORDS = 30.0


def main() -> int:
    """Record clean runs, run the cases that are not finished, say what they gave."""
    asked, began = _arguments(), time.monotonic()
    if asked.soak:
        return soak(asked.soak)
    code = ledger.fingerprint()
    done = ledger.load(code, asked.again)
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(asked.workers, spawn, opened, (folder,)) as pool:
            cases = matrix(joined(pool.map(record, RECORDINGS)))
            wanted = _wanted(cases, asked)
            running = [pool.submit(run, case) for name, case in wanted.items() if name not in done]
            print(f"{len(cases)} cases in all, {len(wanted)} asked for, {len(wanted) - len(running)} done before")
            print(ledger.estimate([case for name, case in wanted.items() if name not in done], asked.workers))
            print(ledger.heading(), flush=True)
            for name in wanted.keys() & done.keys():
                print(ledger.line(done[name]))
            pace = _Pace(len(running))
            for finished in as_completed(running):
                result = finished.result()
                done[result["case"]] = result
                print(ledger.line(result), flush=True)
                ledger.save(code, asked.seed, len(cases), done)
                pace.step()
            for _ in range(asked.workers):
                pool.submit(close)
    print(f"\n{len(running)} cases run in {(time.monotonic() - began) / 60:.0f} minutes.")
    return _conclude([done[name] for name in wanted], done, len(cases))


class _Pace:
    """Says now and then how far it is; `count` cases begin to run when it is made."""

    def __init__(self, count: int) -> None:
        self._count, self._done = count, 0
        self._began = self._said = time.monotonic()

    def step(self) -> None:
        """Count a finished case."""
        now = time.monotonic()
        self._done += 1
        if now - self._said >= SECONDS_BETWEEN_WORDS:
            self._said = now
            print(ledger.progress(self._done, self._count, now - self._began), flush=True)


def _wanted(cases: list[Case], asked: argparse.Namespace) -> dict[str, Case]:
    able = pairs(cases, asked.pairs, asked.seed) if asked.pairs else cases
    chosen = [case for case in able if asked.only in case.name]
    return {case.name: case for case in (sample(chosen, asked.cases, asked.seed) if asked.cases else chosen)}


def _conclude(rows: list[dict[str, Any]], done: dict[str, dict[str, Any]], known: int) -> int:
    figures = ledger.totals(rows)
    print(ledger.summary(figures))
    if ledger.PAGE.exists():
        ledger.PAGE.write_text(ledger.page(ledger.PAGE.read_text(), done.values(), known))
    return int(figures["passed"] != figures["cases"])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m chaos", description="Run the fault matrix.")
    parser.add_argument("--cases", type=int, default=0, help="a seeded sample of that many; all of them by default")
    parser.add_argument("--only", default="", help="cases whose name holds this text")
    parser.add_argument(
        "--pairs", type=int, default=0, help="that many pairs of faults by seed, in place of the matrix"
    )
    parser.add_argument("--soak", type=int, default=0, help="that many runs at once, in place of the matrix")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--workers", type=int, default=WORKERS, help="embedded clouds side by side")
    parser.add_argument("--again", action="store_true", help="run finished cases again")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
