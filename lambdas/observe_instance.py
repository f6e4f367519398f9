"""Event: an instance changed its state, or spot wants it back. Settles the run that lost it. Runs in Lambda."""

from typing import Any

from lambdas.adapters.cloud import Cloud, cloud
from lambdas.adapters.runs_table import Superseded
from lambdas.adapters.telemetry import about, logger
from lambdas.core.records import TERMINAL_STATES, RunRecord
from lambdas.core.reducer import Settlement, settlement
from lambdas.flows.reporting import take_in, tell

SPOT_WARNING = "EC2 Spot Instance Interruption Warning"


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], _context: Any) -> None:
    """Note a spot warning; after a loss, believe the instance's last report first, then call the attempt lost."""
    found, instance_id = cloud(), event["detail"]["instance-id"]
    record = _current_run(found, instance_id)
    if record is None:
        return
    about(record.run_id, attempt=record.attempt, instance_id=instance_id)
    if event["detail-type"] == SPOT_WARNING:
        logger.warning("spot interruption notice")
        _note_interruption(found, record)
        return
    record = take_in(found, record, instance_id)
    tell(record, _loss(record, event["detail"]["state"], found.now()))


def _current_run(found: Cloud, instance_id: str) -> RunRecord | None:
    """Return the record whose current attempt this instance is, or None."""
    tagged = found.compute.run_of_instance(instance_id)
    record = found.runs.load(tagged[0]) if tagged else None
    if record is None or tagged is None:
        return None
    current = record.attempt == tagged[1] and record.instance_id in ("", instance_id)
    return record if current else None


def _note_interruption(found: Cloud, record: RunRecord) -> None:
    try:
        found.runs.note_attempt(record, {"interruption_at": found.now()})
    except Superseded:
        logger.info("the attempt is over already")


def _loss(record: RunRecord, state: str, now: int) -> Settlement | None:
    if record.state in TERMINAL_STATES:
        return settlement(record, now)
    code = "SpotInterrupted" if record.interruption_at else "InstanceLost"
    seen = record.progress or record.phase or "before its first report"
    return Settlement(
        "failure", code=code, message=f"{record.instance_id or 'The instance'} is {state}; last seen at {seen}."
    )
