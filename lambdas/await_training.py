"""State AwaitTraining: store the token that events on system-state.json will settle. Runs in Lambda."""

from typing import Any

from lambdas.adapters.cloud import cloud
from lambdas.adapters.telemetry import about, logger
from lambdas.core.records import TRAINING
from lambdas.flows.reporting import report


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], _context: Any) -> None:
    """Store the token, then look at the newest report: one that came before the token settles the state now."""
    about(event["run_id"], attempt=event["attempt"])
    found = cloud()
    record = found.runs.load(event["run_id"])
    if record is None:
        raise RuntimeError(f"run {event['run_id']} is not registered")
    changes = {"stage": TRAINING, "task_token": event["task_token"], "status": "training", "attempt": event["attempt"]}
    report(found, found.runs.begin_stage(record, changes))
