"""build/chaos.json: what each case gave; its totals go into docs/reliability.md. Runs beside `make chaos`."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from chaos.cases import Case
from local.deployment import REPOSITORY
from local.state_folder import read_json, write_json

LEDGER = REPOSITORY / "build" / "chaos.json"
PAGE = REPOSITORY / "docs" / "reliability.md"
BEGIN, END = "<!-- matrix: begin -->", "<!-- matrix: end -->"
# What a case's result depends on. A change in any of it makes every case new.
CODE = (
    "app.py", "cdk.json", "infra", "statemachine", "lambdas", "contracts", "instance", "local", "chaos",
    "tests/previous_release",
)  # fmt: skip
# How long a case of a kind takes, beside three others on two cores.
USUAL_SECONDS = 18.0
SECONDS: dict[str, float] = {"outage": 45.0, "stack": 90.0, "machine": 25.0, "versions": 40.0, "pair": 30.0}
WIDTHS = (64, 10, 18, 7)


def fingerprint(root: Path = REPOSITORY) -> str:
    """Return a digest of all code that a case's result depends on."""
    digest = hashlib.sha256()
    for name in CODE:
        top = root / name
        for path in [top] if top.is_file() else sorted(top.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def load(code: str, again: bool, path: Path = LEDGER) -> dict[str, dict[str, Any]]:
    """Return the finished cases by name; none with `again` or when the code has changed since."""
    kept = {} if again else read_json(path)
    return dict(kept.get("cases", {})) if kept.get("code") == code else {}


def save(code: str, seed: int, known: int, rows: Mapping[str, Any], path: Path = LEDGER) -> None:
    """Write the finished cases, in one step."""
    write_json(
        path, {"code": code, "seed": seed, "cases_in_all": known, "totals": totals(rows.values()), "cases": dict(rows)}
    )


def totals(rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the figures that sum the matrix up."""
    seen = list(rows)
    empty = [row["empty_seconds"] for row in seen if row["empty_seconds"] is not None]
    return {
        "cases": len(seen),
        "passed": sum(not row["failures"] for row in seen),
        "with_leftovers": sum(bool(row["leftovers"]) for row in seen),
        "wrong_verdicts": sum(row["wrong_verdict"] for row in seen),
        "slowest_to_empty_seconds": max(empty, default=0.0),
        "seconds": round(sum(row["seconds"] for row in seen)),
    }


def summary(figures: Mapping[str, Any]) -> str:
    """Return the totals as a sentence."""
    return (
        f"{figures['cases']} cases, {figures['passed']} passed, {figures['with_leftovers']} with leftovers, "
        f"{figures['wrong_verdicts']} wrong verdicts; "
        f"slowest to the empty inventory: {figures['slowest_to_empty_seconds']:.0f} s."
    )


def line(row: Mapping[str, Any]) -> str:
    """Return a case's line of the table."""
    empty = "never" if row["empty_seconds"] is None else f"{row['empty_seconds']:.1f}"
    columns = (row["case"], row["status"] or "-", row["reason"] or "-", empty)
    padded = " ".join(text.ljust(width) for text, width in zip(columns, WIDTHS, strict=True))
    return f"{padded} {len(row['leftovers'])}  {'; '.join(row['failures']) or 'passed'}"


def progress(done: int, count: int, seconds: float) -> str:
    """Return how far the matrix is after `seconds`, with the minutes left at the pace so far; `done` is at least 1."""
    left = seconds / done * (count - done) / 60
    return f"--- {done} of {count} done in {seconds / 60:.0f} minutes, about {left:.0f} minutes left"


def estimate(cases: Iterable[Case], workers: int) -> str:
    """Return how long cases take with so many embedded clouds side by side, from what their kinds took so far."""
    asked = Counter(case.kind for case in cases)
    seconds = sum(SECONDS.get(kind, USUAL_SECONDS) * count for kind, count in asked.items()) / workers
    counted = ", ".join(f"{count} {kind}" for kind, count in sorted(asked.items()))
    return f"about {seconds / 60:.0f} minutes for {counted or 'none'}"


def heading() -> str:
    """Return the table's heading."""
    names = ("case", "status", "reason", "empty s")
    return " ".join(text.ljust(width) for text, width in zip(names, WIDTHS, strict=True)) + " leftovers, result"


def slowest(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the table of the slowest seconds from a net's event to the machine's end, by what was down."""
    found: dict[tuple[str, str], float] = {}
    for row in rows:
        if row.get("machine_seconds") is not None:
            key = (row["net"], row["down"])
            found[key] = max(found.get(key, 0.0), row["machine_seconds"])
    nets, down = ([*dict.fromkeys(sorted(key[place] for key in found))] for place in (0, 1))
    if not found:
        return []
    lines = [
        "",
        "Seconds to the machine's end:",
        "",
        f"| down | {' | '.join(nets)} |",
        "| --- " * (len(nets) + 1) + "|",
    ]
    for what in down:
        cells = [f"{found[net, what]:.0f}" if (net, what) in found else "" for net in nets]
        lines.append(f"| {what} | {' | '.join(cells)} |")
    return lines


def page(text: str, rows: Iterable[Mapping[str, Any]], known: int) -> str:
    """Return the page with the matrix's last result between its markers."""
    seen = list(rows)
    kinds = Counter(row["kind"] for row in seen)
    passed = Counter(row["kind"] for row in seen if not row["failures"])
    figures = totals(seen)
    table = ["| kind of case | cases run | passed |", "| --- | --- | --- |"]
    table += [f"| {kind} | {kinds[kind]} | {passed[kind]} |" for kind in sorted(kinds)]
    table += slowest(seen)
    said = f"{known} cases in all. Seen: {summary(figures)}"
    failed = [f"- `{row['case']}`: {'; '.join(row['failures'])}" for row in seen if row["failures"]]
    body = "\n".join([said, "", *table, *(["", "Not passed:", "", *failed] if failed else [])])
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n{body}\n{END}{rest.partition(END)[2]}"
