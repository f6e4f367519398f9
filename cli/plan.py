"""What a request needs and may cost, and how to get what is missing. Runs on a person's machine."""

import json
import secrets
import shlex
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from cli import needs
from cli.needs import MISSING, OK, UNKNOWN, Need
from cli.permissions import permissions
from cli.stack import Stack
from contracts.documents import Document
from contracts.plain import plain
from contracts.reasons import REASONS, RunError
from lambdas.core.acceptance import checked_request

DEFAULT = "{}"
STANDARD_INPUT = "-"
MOST_SHOWN = 600
_MARKS = {OK: "ok", MISSING: "MISSING", UNKNOWN: "not known"}

Look = Callable[[Document, Stack], Need]
LOOKS: dict[str, Look] = {
    "data set": needs.dataset,
    "model weights": needs.weights,
    "vCPU quota": needs.quota,
    "instance types": needs.offerings,
    "capacity": needs.capacity,
    "machine image": needs.image,
    "your permissions": permissions,
    "cost": needs.cost,
    "monthly budget": needs.budget,
}


class RequestUnreadable(RuntimeError):
    """The request cannot be read as JSON; the message says what was found."""


def request_of(source: str) -> Any:
    """Return the request that is in a file, on standard input (`-`) or in the text itself; raises RequestUnreadable."""
    try:
        if source == STANDARD_INPUT:
            text = sys.stdin.read()
        else:
            text = source if source.lstrip().startswith("{") else Path(source).read_text()
        return json.loads(text)
    except (OSError, ValueError) as error:
        raise RequestUnreadable(
            f"request {plain(source)}: expected a JSON file, - for standard input, or JSON, found none ({error})."
        ) from error


def report(document: Any, source: str, stack: Stack, out: TextIO = sys.stdout) -> int:
    """Print each need of a request as it is looked at, then how to start it; returns 1 if anything is missing."""
    found: list[Need] = []
    for need in look(document, stack):
        found.append(need)
        _print(need, out)
    missing = [need.name for need in found if need.state == MISSING]
    unknown = [need.name for need in found if need.state == UNKNOWN]
    if missing:
        print(f"\nNot ready: {', '.join(missing)}. Nothing was launched.", file=out)
        return 1
    print(f"\nReady{', as far as is known' if unknown else ''}. Nothing was launched. Start it with:", file=out)
    print(f"  {_start(document, source, stack)}", file=out)
    return 0


def execution_name() -> str:
    """Return a name that no other execution has.

    The AWS CLI repeats a call whose answer was lost. With a name that starts one run; without one it starts two.
    """
    return f"run-{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"


def look(document: Any, stack: Stack) -> Iterator[Need]:
    """Yield what the request needs, one by one; what cannot be looked at does not keep the others back."""
    try:
        request = checked_request(document)
    except RunError as error:
        yield Need("request", MISSING, error.message, REASONS[error.code].next_step)
        return
    yield Need("request", OK, needs.summary(request))
    for name, one in LOOKS.items():
        yield _looked_at(name, one, request, stack)


def _looked_at(name: str, one: Look, request: Document, stack: Stack) -> Need:
    try:
        return one(request, stack)
    except RunError as error:
        return Need(name, MISSING, error.message, needs.remedy(error.code, request, stack))
    except (ClientError, BotoCoreError, HTTPError) as error:
        return Need(name, UNKNOWN, f"AWS did not say: {error}")


def _print(need: Need, out: TextIO) -> None:
    print(f"  {_MARKS[need.state]:<10} {need.name:<17} {plain(need.found)[:MOST_SHOWN]}", file=out, flush=True)
    if need.remedy:
        print(f"{'':<31}{need.remedy}", file=out, flush=True)


def _start(document: Any, source: str, stack: Stack) -> str:
    is_file = source != STANDARD_INPUT and not source.lstrip().startswith("{")
    given = f"file://{source}" if is_file else json.dumps(document)
    return (
        f"aws stepfunctions start-execution --state-machine-arn {shlex.quote(stack.state_machine_arn)} "
        f"--name {execution_name()} --input {shlex.quote(given)}"
    )
