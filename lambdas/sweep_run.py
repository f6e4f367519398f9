"""Events: an execution ended, or a dead-man switch fired. Cleans up what the workflow did not. Runs in Lambda."""

from typing import Any

from contracts.documents import Document
from contracts.reasons import explain
from lambdas.adapters import executions
from lambdas.adapters.clients import AWS_ERRORS, problem_of
from lambdas.adapters.cloud import Cloud, cloud
from lambdas.adapters.telemetry import about, emit, logger
from lambdas.core.inventory import Inventory, of_execution, of_run
from lambdas.core.records import RunRecord
from lambdas.core.verdict import ENDED, verdict_of_execution, verdict_to_record, with_leftovers
from lambdas.flows import evidence
from lambdas.flows.cleaning import clean, disarm, signed_off
from lambdas.flows.recording import close, end_billing, publish, record_verdict, recost
from lambdas.flows.terminating import arm_next, end_instances, on_record

PATIENCE_SECONDS = 150
# Cleanup with all of its rounds takes less, so a workflow that has been at it for longer is not at it any more.
CLEANUP_SECONDS = 2400
DEAD_MAN = "dead_man"
_STOPPED = ("ABORTED", "TIMED_OUT")


class LeftoversRemain(Exception):
    """Something is left of a run; the switch is armed again, and Lambda repeats the event."""


class RunUnknown(Exception):
    """An execution that was stopped has no run, or none yet; Lambda repeats the event twice, minutes later."""


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], _context: Any) -> None:
    """End the machines, close the run, delete what is left, write receipt and verdict where the workflow did not."""
    found = cloud(brief=True)
    if event.get("source") == DEAD_MAN:
        _sweep_by_time(found, event["run_id"], event.get("schedule", event["run_id"]))
    else:
        _sweep_by_end(found, event["detail"])


def _sweep_by_time(found: Cloud, run_id: str, schedule: str) -> None:
    """Sweep a run whose dead-man schedule has fired; another one is armed before anything else can fail."""
    about(run_id)
    arm_next(found, run_id, fired=schedule)
    ended = end_instances(found, of_run(run_id), lambda: on_record(found.runs.load(run_id)))
    record = found.runs.load(run_id)
    if record is None:
        _clean(found, run_id, None, DEAD_MAN, ended)
        disarm(found, run_id, DEAD_MAN)
        return
    timed_out = verdict_of_execution({"status": "TIMED_OUT"})
    record = close(found, record, timed_out["reason_code"])
    verdict = verdict_to_record(record, timed_out)
    # While Cleanup is at work on a run that it has closed, it also ends the execution.
    if verdict == timed_out or found.now() - record.closed_at > CLEANUP_SECONDS:
        _stop(record, verdict["reason_code"] or timed_out["reason_code"], "")
    _conclude(found, record, verdict, DEAD_MAN, ended)


def _sweep_by_end(found: Cloud, detail: Document) -> None:
    """Sweep the run of an execution that has ended."""
    arn = detail["executionArn"]
    about("", execution_arn=arn)
    ended = end_instances(found, of_execution(arn), lambda: on_record(found.runs.of_execution(arn)))
    record = found.runs.of_execution(arn)
    if record is None:
        _expect_none(detail, ended)
        return
    about(record.run_id)
    verdict = verdict_of_execution(detail)
    record = close(found, record, verdict["reason_code"] or "")
    verdict = verdict_to_record(record, verdict)
    if record.ended_at and found.compute.inventory(of_run(record.run_id)).empty and signed_off(found, record.run_id):
        disarm(found, record.run_id, "status_change")
        publish(found, recost(found, record))
        return
    arm_next(found, record.run_id)
    _conclude(found, record, verdict, "status_change", ended)
    if detail["status"] != "SUCCEEDED":
        # Redriven before this event came, the execution waits for a run that is closed now. Nothing is paid for that.
        _stop(record, ENDED, "")


def _expect_none(detail: Document, ended: list[Document]) -> None:
    """Accept that there is no run, unless the execution was stopped: its AcceptRun may be about to register one."""
    if ended:
        raise LeftoversRemain(f"An execution without a record had instances: {ended}"[:1000])
    if detail.get("status") in _STOPPED:
        raise RunUnknown(f"The execution {detail['status'].lower()} and registered no run yet.")
    logger.info("no run was registered, so nothing was launched")


def _conclude(found: Cloud, record: RunRecord, verdict: Document, net: str, ended: list[Document]) -> None:
    """Clean up and write the verdict; the schedules go last. Raises LeftoversRemain as long as anything is left."""
    if not record.ended_at and verdict["reason_code"]:
        evidence.keep(found, record, verdict["reason_code"], verdict["cause"])
    left = _clean(found, record.run_id, record, net, ended)
    record = end_billing(found, record)
    if record.ended_at:
        publish(found, recost(found, record))
    else:
        if not verdict["reason_code"]:
            # An execution that succeeded has seen that nothing is left, so this is soon known again.
            _expect_nothing(left)
        where = evidence.address(found, record, record.execution_arn)
        told = with_leftovers(verdict, left.remaining(), where)
        record_verdict(found, record, told["status"], told["reason_code"] or "", told["cause"] or "")
    _expect_nothing(left)
    disarm(found, record.run_id, net)


def _clean(found: Cloud, run_id: str, record: RunRecord | None, net: str, ended: list[Document]) -> Inventory:
    """Clean up; raises LeftoversRemain while an instance may be left, before there is a verdict to write."""
    left = clean(found, run_id, record, net, PATIENCE_SECONDS, ended)
    if not left.instances_gone:
        _expect_nothing(left)
    return left


def _expect_nothing(left: Inventory) -> None:
    if not left.empty:
        emit(Leftovers=1)
        raise LeftoversRemain(", ".join(left.remaining())[:1000])


def _stop(record: RunRecord, code: str, detail: str) -> None:
    """Stop the execution if it still runs, or runs again."""
    try:
        executions.stop(record.execution_arn, code, explain(code, detail))
    except AWS_ERRORS as error:
        logger.warning("could not stop the execution", extra={"problem": problem_of(error)})
