"""Follow an execution until it ends: state, phase, step, elapsed time. Runs on a person's machine."""

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TextIO

import boto3
from botocore.exceptions import ClientError

from cli.stack import Stack
from contracts import layout

POLL_SECONDS = 1.0
RUNNING = "RUNNING"


@dataclass(frozen=True)
class Glance:
    """What an execution is doing at one moment."""

    status: str
    state: str
    phase: str
    progress: str
    run_id: str | None
    cause: str


def follow(stack: Stack, execution_arn: str, out: TextIO = sys.stdout) -> Glance:
    """Print a line for each change until the execution ends; returns the last glance."""
    begun = time.monotonic()
    shown: tuple[str, ...] = ()
    last = Glance(RUNNING, "", "", "", None, "")
    for last in glances(stack, execution_arn):
        line = (last.state, last.phase, last.progress)
        if line != shown and last.state:
            minutes, seconds = divmod(int(time.monotonic() - begun), 60)
            print(
                f"  {minutes}:{seconds:02d}  {last.state:<18} {last.phase:<13} {last.progress}".rstrip(),
                file=out,
                flush=True,
            )
            shown = line
    return last


def glances(stack: Stack, execution_arn: str) -> Iterator[Glance]:
    """Yield what the execution does, about once a second, the last time when it has ended."""
    states = boto3.client("stepfunctions")
    while True:
        execution = states.describe_execution(executionArn=execution_arn)
        state, run_id = _newest_state(states, execution_arn)
        report = _report(stack, run_id) if run_id and state == "AwaitTraining" else {}
        yield Glance(
            status=execution["status"],
            state=state,
            phase=report.get("phase", ""),
            progress=_progress(report),
            run_id=run_id,
            cause=execution.get("cause", "") or "",
        )
        if execution["status"] != RUNNING:
            return
        time.sleep(POLL_SECONDS)


def _newest_state(states: Any, execution_arn: str) -> tuple[str, str | None]:
    """Return the state entered last and the run id in its input."""
    newest = states.get_execution_history(executionArn=execution_arn, reverseOrder=True, maxResults=50)["events"]
    for event in newest:
        details = event.get("stateEnteredEventDetails")
        if details:
            state_input = json.loads(details.get("input") or "{}")
            return details["name"], state_input.get("run", {}).get("run_id") if isinstance(state_input, dict) else None
    return "", None


def _report(stack: Stack, run_id: str) -> dict[str, Any]:
    key = layout.run_prefix(run_id) + layout.SYSTEM_STATE
    try:
        body = boto3.client("s3").get_object(Bucket=stack.bucket, Key=key)["Body"].read()
        report = json.loads(body)
    except (ClientError, ValueError):
        return {}
    return report if isinstance(report, dict) else {}


def _progress(report: dict[str, Any]) -> str:
    progress = report.get("progress") or {}
    if not progress:
        return ""
    total = f"/{progress['total']}" if progress.get("total") is not None else ""
    return f"{progress['step']}{total} {progress['unit']}"
