"""State AwaitTraining: store the token that events on system-state.json will settle. Runs in Lambda."""

from typing import Any

from lambdas.adapters.clients import AWS_ERRORS, problem_of, repeatable
from lambdas.adapters.cloud import Cloud, cloud
from lambdas.adapters.runs_table import Superseded
from lambdas.adapters.telemetry import about, logger
from lambdas.core.records import TRAINING, RunRecord, fence_in
from lambdas.flows.launching import end_others
from lambdas.flows.recording import refuse_ended
from lambdas.flows.reporting import report


@logger.inject_lambda_context(clear_state=True)
@repeatable
def handler(event: dict[str, Any], _context: Any) -> None:
    """Store the token, then look at the newest report: one that came before the token settles the state now."""
    about(event["run_id"], attempt=event["attempt"])
    found = cloud()
    record = found.runs.load(event["run_id"])
    if record is None:
        raise RuntimeError(f"run {event['run_id']} is not registered")
    changes = {
        "stage": TRAINING,
        "task_token": event["task_token"],
        "fence": fence_in(event) or record.fence,
        "status": "training",
        "attempt": event["attempt"],
        # The instance has reported, so its launch is over, even if nobody heard EC2's answer.
        "launch_ended_at": record.launch_ended_at or found.now(),
    }
    try:
        record = found.runs.begin_stage(record, changes)
    except Superseded:
        refuse_ended(found, record)
        # The state machine does not wait for this call any more: whoever took its place answers.
        logger.info("a later call has taken over")
        return
    _end_others(found, record)
    report(found, record)


def _end_others(found: Cloud, record: RunRecord) -> None:
    """See that the run pays for one instance, now that EC2 has had time to show what it launched. Best effort."""
    try:
        end_others(found, record)
    except Superseded:
        logger.info("a later call has taken over")
    except AWS_ERRORS as error:
        logger.warning("could not look for other instances", extra={"problem": problem_of(error)})
