"""Event: a system-state.json was written. Settles the state that waits for it. Runs in Lambda."""

from typing import Any

from contracts.layout import source_of_state_key
from lambdas.adapters.cloud import Cloud, cloud
from lambdas.adapters.telemetry import about, logger
from lambdas.core.records import RunRecord
from lambdas.flows.reporting import report


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], _context: Any) -> None:
    """Take in the newest report of the run whose object changed."""
    source = source_of_state_key(event["detail"]["object"]["key"])
    if source is None:
        logger.info("not a run's state", extra={"key": event["detail"]["object"]["key"][:200]})
        return
    run_id, instance_id = source
    about(run_id, instance_id=instance_id)
    found = cloud()
    record = found.runs.load(run_id)
    if record is None:
        logger.warning("a report of a run that is not registered")
    elif _current(found, record, instance_id):
        report(found, record, instance_id)
    else:
        logger.info("a report of another machine than the current attempt's")


def _current(found: Cloud, record: RunRecord, instance_id: str) -> bool:
    """Return whether a machine is the current attempt's.

    While EC2's answer to the launch is not on record the machine's tags say so, which no machine can write: every
    machine may leave a report below any run's prefix, in a folder that names it.
    """
    if record.instance_id:
        return record.instance_id == instance_id
    instance = found.compute.instance(instance_id)
    return instance is not None and (instance.run_id, instance.attempt.attempt) == (record.run_id, record.attempt)
