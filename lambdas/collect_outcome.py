"""State CollectOutcome: say how the attempt ended, from what is recorded and what is in the bucket. Runs in Lambda."""

from typing import Any

from contracts.documents import Document
from contracts.reasons import ArtifactsInvalid, RunEnded
from lambdas.adapters.clients import AWS_ERRORS, problem_of, repeatable
from lambdas.adapters.cloud import Cloud, cloud
from lambdas.adapters.runs_table import Superseded
from lambdas.adapters.telemetry import about, logger
from lambdas.core.records import TERMINAL_STATES, RunRecord
from lambdas.core.verdict import MOST_RETURNS, Ending, ending, outcome
from lambdas.flows import evidence
from lambdas.flows.publishing import publish, publish_told
from lambdas.flows.reporting import take_in
from lambdas.flows.verifying import verify_artifacts


@logger.inject_lambda_context(clear_state=True)
@repeatable
def handler(event: dict[str, Any], _context: Any) -> dict[str, Any]:
    """Return the outcome of the attempt: completed only when every artifact is in the bucket as claimed, and kept."""
    found, state = cloud(brief=True), event["state"]
    # A refusal replaces the input, which need not be an object; later errors stand beside the run.
    error = state.get("error", state)
    record = _attempt(found.runs.of_execution(event["execution_arn"]), state.get("attempt"))
    if record:
        about(record.run_id, attempt=record.attempt)
        record = record if record.closed_at else take_in(found, record)
    returns = int(state.get("returns", 0))
    # A workflow that began before there was a way back passes nothing.
    may_await = bool(event.get("may_await")) and returns < MOST_RETURNS
    end = _ending(found, record, error, may_await)
    if record and end.completed:
        end = _published(record)
    result = outcome(record, end, found.now(), may_retry="run" in state, returns=returns)
    # The evidence of a run that had ended is there, and tells more than that it had.
    if record and result["status"] == "failed" and not record.closed_at:
        evidence.keep(found, record, end.code, result["cause"], error)
    logger.info("outcome", extra={"outcome": result})
    return result


def _attempt(record: RunRecord | None, attempt: int | None) -> RunRecord | None:
    """Return the record as of the attempt that the workflow is in, which is the one that counts.

    The record is behind when the attempt's launch failed before it could begin, and ahead only of an invocation that
    the workflow no longer waits for.
    """
    if record is None or attempt is None or attempt == record.attempt:
        return record
    if attempt < record.attempt:
        raise Superseded(f"attempt {attempt} was judged before, attempt {record.attempt} has begun")
    return record.for_attempt(attempt)


def _ending(found: Cloud, record: RunRecord | None, error: Document, may_await: bool) -> Ending:
    state, reason = _instance(found, record) if record else ("", "")
    return ending(record, error, found.now(), state, reason, may_await)


def _instance(found: Cloud, record: RunRecord) -> tuple[str, str]:
    """Return what EC2 says of the attempt's instance, its state and why; ("", "") when it says nothing."""
    if not record.instance_id or record.state in TERMINAL_STATES:
        return "", ""
    try:
        instance = found.compute.instance(record.instance_id)
    except AWS_ERRORS as error:
        logger.warning("EC2 does not tell of the instance", extra={"problem": problem_of(error)})
        return "", ""
    return (instance.state, instance.reason) if instance else ("", "")


def _published(record: RunRecord) -> Ending:
    """Return the end of an instance that says it is done: completed once its results are verified and kept."""
    patient = cloud()
    try:
        publish(patient, record, verify_artifacts(patient, record))
        publish_told(patient, record)
    except (ArtifactsInvalid, RunEnded) as error:
        return Ending(error.code, error.message)
    return Ending("completed")
