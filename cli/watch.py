"""Follow an execution until it ends: state, phase, step, elapsed time. Runs on a person's machine."""

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, TextIO

import boto3
from botocore.exceptions import ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as Unreachable

from cli.stack import Stack
from contracts import layout
from contracts.plain import plain, plain_document

POLL_SECONDS = 1.0
# A network that is away for longer than this ends watching; the run goes on without it.
PATIENCE_SECONDS = 900.0
_UNREACHED = (Unreachable, HTTPClientError)
UNHEARD = "no answer from AWS, asking again; the run goes on without this computer"
RUNNING = "RUNNING"
WAITING = "WaitForCapacity"


@dataclass(frozen=True)
class Glance:
    """What an execution is doing at one moment."""

    status: str
    state: str
    phase: str
    progress: str
    run_id: str | None
    at_most_usd: float | None
    cause: str


_UNSEEN = Glance(RUNNING, "", "", "", None, None, "")


def follow(stack: Stack, execution_arn: str, out: TextIO = sys.stdout) -> Glance:
    """Print a line for each change until the execution ends; returns the last glance."""
    begun = time.monotonic()
    shown: tuple[str, ...] = ()
    estimated = False
    last = _UNSEEN
    for last in glances(stack, execution_arn):
        if last.at_most_usd is not None and not estimated:
            print(f"  run {last.run_id}, at most {last.at_most_usd:.2f} USD on AWS", file=out, flush=True)
            estimated = True
        line = (last.state, last.phase, last.progress)
        if line != shown and any(line):
            minutes, seconds = divmod(int(time.monotonic() - begun), 60)
            print(
                f"  {minutes}:{seconds:02d}  {last.state:<18} {last.phase:<13} {last.progress}".rstrip(),
                file=out,
                flush=True,
            )
            shown = line
    return last


def glances(stack: Stack, execution_arn: str) -> Iterator[Glance]:
    """Yield what the execution does, about once a second, the last time when it has ended.

    Raises
    ------
    botocore.exceptions.ConnectionError, HTTPClientError
        When AWS could not be reached for PATIENCE_SECONDS.
    """
    heard, last = time.monotonic(), _UNSEEN
    while last.status == RUNNING:
        try:
            last = _glance(stack, execution_arn)
            heard = time.monotonic()
        except _UNREACHED:
            if time.monotonic() - heard > PATIENCE_SECONDS:
                raise
            last = replace(last, progress=UNHEARD)
        yield last
        if last.status == RUNNING:
            time.sleep(POLL_SECONDS)


def _glance(stack: Stack, execution_arn: str) -> Glance:
    states = boto3.client("stepfunctions")
    execution = states.describe_execution(executionArn=execution_arn)
    state, given = _newest_state(states, execution_arn)
    run = _object(given.get("run"))
    run_id = run.get("run_id")
    instance_id = _object(given.get("boot")).get("instance_id", "")
    report = _report(stack, run_id, instance_id) if run_id and state == "AwaitTraining" else {}
    return Glance(
        status=execution["status"],
        state=state,
        phase=report.get("phase", ""),
        progress=_waiting(given) if state == WAITING else _progress(report),
        run_id=run_id,
        at_most_usd=run.get("at_most_usd"),
        cause=execution.get("cause", "") or "",
    )


def _newest_state(states: Any, execution_arn: str) -> tuple[str, dict[str, Any]]:
    """Return the state entered last and its input, {} for one that is no object."""
    newest = states.get_execution_history(executionArn=execution_arn, reverseOrder=True, maxResults=50)["events"]
    for event in newest:
        details = event.get("stateEnteredEventDetails")
        if details:
            return details["name"], _object(json.loads(details.get("input") or "{}"))
    return "", {}


def _object(document: Any) -> dict[str, Any]:
    return document if isinstance(document, dict) else {}


def _waiting(given: dict[str, Any]) -> str:
    """Return when a run that waits for capacity asks again and until when, as LaunchInstance said."""
    try:
        said = _object(json.loads(_object(given.get("capacity")).get("Cause") or "{}")).get("errorMessage", "")
    except ValueError:
        return ""
    return plain(str(said).partition(". Tried ")[0])


def _report(stack: Stack, run_id: str, instance_id: str) -> dict[str, Any]:
    folder = layout.machine_folder(layout.run_prefix(run_id), stack.machine_role_id, instance_id)
    key = folder + layout.SYSTEM_STATE
    try:
        body = boto3.client("s3").get_object(Bucket=stack.bucket, Key=key)["Body"].read()
        report = json.loads(body)
    except (ClientError, ValueError):
        return {}
    return plain_document(report) if isinstance(report, dict) else {}


def _progress(report: dict[str, Any]) -> str:
    progress = report.get("progress") or {}
    if not progress:
        return ""
    total = f"/{progress['total']}" if progress.get("total") is not None else ""
    left = progress.get("seconds_left")
    loss = f", loss {progress['loss']:.4g}" if progress.get("loss") is not None else ""
    return f"{progress['step']}{total} {progress['unit']}{loss}" + (f", about {_time(left)} left" if left else "")


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
