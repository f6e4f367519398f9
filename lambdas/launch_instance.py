"""State LaunchInstance: token first, then one instance from the capacity ladder. Runs in Lambda."""

from typing import Any

from contracts.reasons import LaunchRefused
from lambdas.adapters.clients import repeatable
from lambdas.adapters.cloud import Cloud, cloud
from lambdas.adapters.runs_table import Superseded
from lambdas.adapters.telemetry import about, logger
from lambdas.core.records import RunRecord, fence_in
from lambdas.flows.launching import await_end_of_others, begin, end_others, walk
from lambdas.flows.recording import refuse_ended
from lambdas.flows.reporting import report


@logger.inject_lambda_context(clear_state=True)
@repeatable
def handler(event: dict[str, Any], _context: Any) -> None:
    """Launch the attempt's instance; the state itself ends when the instance reports that it booted."""
    about(event["run_id"], attempt=event["attempt"])
    found = cloud()
    record = found.runs.load(event["run_id"])
    if record is None:
        raise LaunchRefused(f"Run {event['run_id']} is not registered.")
    try:
        launched = _launch(found, record, event)
    except Superseded:
        refuse_ended(found, record)
        # The state machine does not wait for this call any more: whoever took its place answers.
        logger.info("a later call has taken over")
        return
    logger.info("instance launched", extra={"instance_id": launched.instance_id, "rung": launched.rungs[-1:]})
    report(found, launched)


def _launch(found: Cloud, record: RunRecord, event: dict[str, Any]) -> RunRecord:
    begun = end_others(found, begin(found, record, event["attempt"], event["task_token"], fence_in(event)))
    await_end_of_others(found, begun)
    return walk(found, begun)
