"""Event: a system-state.json was written. Settles the state that waits for it. Runs in Lambda."""

from typing import Any

from contracts.layout import run_id_of_state_key
from lambdas.adapters.cloud import cloud
from lambdas.adapters.telemetry import about, logger
from lambdas.flows.reporting import report


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], _context: Any) -> None:
    """Take in the newest report of the run whose object changed."""
    run_id = run_id_of_state_key(event["detail"]["object"]["key"])
    if run_id is None:
        logger.info("not a run's state", extra={"key": event["detail"]["object"]["key"][:200]})
        return
    about(run_id)
    found = cloud()
    record = found.runs.load(run_id)
    if record is None:
        logger.warning("a report of a run that is not registered")
        return
    report(found, record)
