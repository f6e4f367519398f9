"""State CollectOutcome: say how the attempt ended, from what is recorded and what is in the bucket. Runs in Lambda."""

from typing import Any

from contracts.reasons import ArtifactsInvalid
from lambdas.adapters.clients import repeatable
from lambdas.adapters.cloud import Cloud, cloud
from lambdas.adapters.telemetry import about, logger
from lambdas.core.records import RunRecord
from lambdas.core.verdict import Ending, ending, outcome
from lambdas.flows import evidence
from lambdas.flows.publishing import publish, publish_told
from lambdas.flows.reporting import take_in
from lambdas.flows.verifying import verify_artifacts


@logger.inject_lambda_context(clear_state=True)
@repeatable
def handler(event: dict[str, Any], _context: Any) -> dict[str, Any]:
    """Return the outcome of the attempt: completed only when every artifact is in the bucket as claimed, and kept."""
    found = cloud()
    # A refusal replaces the input, which need not be an object; later errors stand beside the run.
    error = event["state"].get("error", event["state"])
    record = found.runs.of_execution(event["execution_arn"])
    if record:
        about(record.run_id, attempt=record.attempt)
        record = record if record.closed_at else take_in(found, record)
    state = found.compute.state_of(record.instance_id) if record and record.instance_id else ""
    end = ending(record, error, found.now(), state)
    if record:
        end = _checked(found, record, end)
    result = outcome(record, end, found.now())
    # The evidence of a run that had ended is there, and tells more than that it had.
    if record and not end.completed and not record.closed_at:
        evidence.keep(found, record, end.code, result["cause"], error)
    logger.info("outcome", extra={"outcome": result})
    return result


def _checked(found: Cloud, record: RunRecord, end: Ending) -> Ending:
    if end.completed:
        try:
            publish(found, record, verify_artifacts(found, record))
            publish_told(found, record)
        except ArtifactsInvalid as error:
            return Ending(error.code, error.message)
    return end
