"""Events: an execution ended, or a dead-man switch fired. Cleans up what the workflow did not. Runs in Lambda."""

from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from contracts.documents import Document
from contracts.reasons import REASONS, explain
from lambdas.adapters import executions
from lambdas.adapters.cloud import Cloud, cloud
from lambdas.adapters.telemetry import about, emit, logger
from lambdas.core.records import RunRecord
from lambdas.core.verdict import ENDED
from lambdas.flows import evidence
from lambdas.flows.cleaning import REARM_SECONDS, clean, find
from lambdas.flows.recording import close, end_billing, publish, record_verdict, recost

PATIENCE_SECONDS = 200
DEAD_MAN = "dead_man"
_CODES = {"ABORTED": "Aborted", "TIMED_OUT": "ExecutionTimedOut"}


class LeftoversRemain(Exception):
    """Something is left of a run; the switch is armed again, and Lambda repeats the event."""


class RunUnknown(Exception):
    """An execution that was stopped has no run, or none yet; Lambda repeats the event twice, minutes later."""


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], _context: Any) -> None:
    """Close the run, delete what is left, write receipt and verdict where the workflow did not."""
    found = cloud()
    by_time = event.get("source") == DEAD_MAN
    record = found.runs.load(event["run_id"]) if by_time else found.runs.of_execution(event["detail"]["executionArn"])
    if record is None:
        _expect_none(event)
        return
    about(record.run_id)
    if by_time:
        # This schedule has fired: before anything else can fail, another one is armed.
        found.schedules.arm(record.run_id, found.now() + REARM_SECONDS, fired=event.get("schedule", record.run_id))
    verdict = _verdict(event, by_time)
    record = close(found, record, verdict.get("reason_code", ""))
    verdict = _first(record, verdict)
    if by_time:
        _stop(record, "ExecutionTimedOut", "")
    _sweep(found, record, DEAD_MAN if by_time else "status_change", verdict)
    _conclude(found, found.runs.load(record.run_id) or record, verdict)
    if not by_time and verdict["status"] != "completed":
        # Redriven before this event came, the execution waits for a run that is closed now. Nothing is paid for that.
        _stop(record, ENDED, "")


def _expect_none(event: dict[str, Any]) -> None:
    """Accept that there is no run, unless the execution was stopped: its AcceptRun may be about to register one."""
    status = event.get("detail", {}).get("status")
    if status in _CODES:
        raise RunUnknown(f"The execution {status.lower()} and registered no run yet.")
    logger.info("no run was registered, so nothing was launched")


def _stop(record: RunRecord, code: str, detail: str) -> None:
    """Stop the execution if it still runs, or runs again."""
    try:
        executions.stop(record.execution_arn, code, explain(code, detail))
    except (ClientError, BotoCoreError) as error:
        logger.warning("could not stop the execution", extra={"problem": str(error)[:300]})


def _sweep(found: Cloud, record: RunRecord, net: str, verdict: Document) -> None:
    if record.ended_at and find(found, record).empty:
        logger.info("nothing is left")
        return
    if not found.schedules.armed(record.run_id):
        # What is found after a run has ended has no other net if this function fails.
        found.schedules.arm(record.run_id, found.now() + REARM_SECONDS)
    if not record.ended_at and "reason_code" in verdict:
        evidence.keep(found, record, verdict["reason_code"], verdict["cause"])
    receipt = clean(found, record, net, PATIENCE_SECONDS)
    if not receipt["everything_gone"]:
        emit(Leftovers=1)
        if net != DEAD_MAN:
            found.schedules.arm(record.run_id, found.now() + REARM_SECONDS)
        raise LeftoversRemain(str(receipt["inventory"])[:1000])
    end_billing(found, record)


def _verdict(event: dict[str, Any], by_time: bool) -> Document:
    detail = {"status": "TIMED_OUT"} if by_time else event["detail"]
    if detail["status"] == "SUCCEEDED":
        return {"status": "completed"}
    code, said = _code(detail), detail.get("cause") or ""
    if "Next: " not in said:
        # What a person gives as the cause of a stop, or AWS as that of a failure, is the detail of ours.
        said = explain(code, f"{detail.get('error') or ''} {said}")
    return {"status": _status(code), "reason_code": code, "cause": said}


def _first(record: RunRecord, verdict: Document) -> Document:
    """Return the verdict to record: a redrive says RunEnded of a run that was closed for a reason of its own."""
    code = record.closed_as
    if verdict.get("reason_code") != ENDED or code in ("", ENDED):
        return verdict
    return {"status": _status(code), "reason_code": code, "cause": explain(code, "")}


def _status(code: str) -> str:
    return "aborted" if code == "Aborted" else "failed"


def _code(detail: Document) -> str:
    """Return the reason code of an execution that did not succeed.

    The state machine fails with a reason code as its error. The dead-man switch stops it with one; what a
    person gives with a stop decides nothing.
    """
    error, status = detail.get("error"), detail["status"]
    if status == "FAILED":
        return str(error) if error in REASONS else "InternalError"
    return "ExecutionTimedOut" if error == "ExecutionTimedOut" else _CODES.get(status, "InternalError")


def _conclude(found: Cloud, record: RunRecord, verdict: Document) -> None:
    if record.ended_at:
        publish(found, recost(found, record))
    else:
        record_verdict(found, record, **verdict)
