"""Write the parts of the docs that follow from contracts, state machine and prices. Runs on a developer's computer."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from contracts.documents import schema
from contracts.prices import prices, run_cost
from contracts.reasons import REASONS, RequestInvalid
from infra import definition
from lambdas.core.acceptance import HEARTBEAT_SECONDS, checked_request

ROOT = Path(__file__).parent.parent
REQUEST_PAGE = Path("docs/request.md")
EVENTS = ROOT / "events"
COST_MINUTES = (20, 60, 180, 240)

_REQUEST_INTRODUCTION = """# The run request

A request is a JSON object. It is the input of the execution, or a file below `requests/` in the bucket. Every field has
a default, so `{}` is a whole request. An unknown field, a wrong type and a value out of range are refused with
`RequestInvalid` before anything is launched.

This page is written by `make docs` from `contracts/run_request.schema.json` and from the requests in `events/`.
"""


class MarkerMissing(ValueError):
    """A page lacks the markers between which a generated part belongs."""


def pages(root: Path = ROOT) -> dict[Path, str]:
    """Return the text that each page with a generated part should have, by its path below `root`.

    Raises
    ------
    MarkerMissing
        A page has no place for its part.
    """
    parts: dict[str, tuple[str, Callable[[], str]]] = {
        "README.md": ("costs", cost_table),
        "docs/architecture.md": ("states", state_table),
        "docs/operations.md": ("reasons", reason_table),
    }
    written = {Path(page): _placed(root / page, name, part()) for page, (name, part) in parts.items()}
    return {REQUEST_PAGE: request_page(), **written}


def request_page() -> str:
    """Return docs/request.md."""
    fields = [[_code(name), _values(field), _code(json.dumps(field["default"])), field["description"]]
              for name, field in schema("run_request")["properties"].items()]  # fmt: skip
    parts = [
        _REQUEST_INTRODUCTION,
        "## Fields\n",
        _table(["field", "values", "default", "meaning"], fields) + "\n",
        "## Examples\n",
        "The smallest, which takes the data set that was uploaded last:\n",
        _example("request_minimal"),
        "Every field:\n",
        _example("request_full"),
        "## What a refusal says\n",
        _table(["request", "the cause names"], _refusals()),
    ]
    return "\n".join(parts)


def reason_table() -> str:
    """Return every reason code with what happened and what to do."""
    rows = [
        [f"[{_code(r.code)}](#{r.code.lower()})", r.sentence, r.next_step, "yes" if r.retryable else "no"]
        for r in REASONS.values()
    ]
    return _table(["reason code", "what happened", "what to do", "tried again"], rows)


def state_table() -> str:
    """Return the states of the training state machine in the order of the file, each with its comment."""
    states = definition.parsed()["States"]
    return _table(
        ["state", "kind", "what it does"], [[_code(n), s["Type"].lower(), s["Comment"]] for n, s in states.items()]
    )


def cost_table() -> str:
    """Return what a run of some lengths costs on the default instance type."""
    rows = [[f"{minutes} minutes", _usd(minutes, "on_demand"), _usd(minutes, "spot")] for minutes in COST_MINUTES]
    table = _table(["machine time on a g4dn.2xlarge", "on demand", "spot (about)"], rows)
    return f"{table}\n\nPrices of {prices()['region']} as of {prices()['as_of']}."


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the pages, or with --check only say which are not up to date; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m scripts.generate_docs", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, fail when a page is not up to date")
    check_only = parser.parse_args(arguments).check
    stale = {page: text for page, text in pages().items() if _read(ROOT / page) != text}
    for page, text in stale.items():
        print(f"{page}: {'not up to date, run `make docs`' if check_only else 'written'}")
        if not check_only:
            (ROOT / page).write_text(text)
    return 1 if check_only and stale else 0


def _placed(path: Path, name: str, part: str) -> str:
    """Return the text of `path` with `part` between its markers."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, found_begin, rest = path.read_text().partition(begin)
    _, found_end, after = rest.partition(end)
    if not (found_begin and found_end):
        raise MarkerMissing(f"{path.name}: expected the lines {begin} and {end}, found none; put them back.")
    return f"{before}{begin}\n{part}\n{end}{after}"


def _values(field: dict[str, Any]) -> str:
    """Return the values that a field of a JSON Schema takes, in words."""
    if "const" in field:
        return f"only {_code(json.dumps(field['const']))}"
    choices = field.get("enum") or field.get("items", {}).get("enum")
    many = "some of " if field["type"] == "array" else ""
    if choices:
        return many + ", ".join(_code(json.dumps(choice)) for choice in choices)
    types = field["type"] if isinstance(field["type"], list) else [field["type"]]
    return " or ".join(_type(name, field) for name in types)


def _type(name: str, field: dict[str, Any]) -> str:
    if name == "array":
        items = field["items"]
        what = f"names that match {_code(items['pattern'])}" if items["type"] == "string" else f"numbers{_range(items)}"
        return f"{field.get('minItems', 0)} to {field['maxItems']} {what}"
    if name == "string" and "pattern" in field:
        return f"text that matches {_code(field['pattern'])}"
    return name + (_range(field) if name in ("integer", "number") else "")


def _range(field: dict[str, Any]) -> str:
    words = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to", "exclusiveMaximum": "below"}
    return "".join(f" {word} {field[bound]:,}" for bound, word in words.items() if bound in field)


def _refusals() -> list[list[str]]:
    """Return each invalid sample request with the message it gets."""
    rows = []
    for path in sorted(EVENTS.glob("request_invalid_*.json")):
        request = json.loads(path.read_text())
        try:
            checked_request(request)
        except RequestInvalid as error:
            rows.append([_code(json.dumps(request)), error.message])
    return rows


def _example(name: str) -> str:
    return f"```json\n{(EVENTS / f'{name}.json').read_text().strip()}\n```\n"


def _usd(minutes: int, market: str) -> str:
    seconds = minutes * 60
    cost = run_cost("g4dn.2xlarge", market, seconds=seconds, heartbeats=round(seconds / HEARTBEAT_SECONDS))
    return f"${cost.total_usd:.2f}"


def _table(head: list[str], rows: list[list[str]]) -> str:
    # A <name> would be taken for HTML, a bar for the end of the cell.
    cells = [[cell.replace("|", "\\|").replace("<", "&lt;") for cell in row] for row in rows]
    lines = [head, ["---"] * len(head), *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _code(text: str) -> str:
    return f"`{text}`"


def _read(path: Path) -> str:
    return path.read_text() if path.is_file() else ""


if __name__ == "__main__":
    sys.exit(main())
