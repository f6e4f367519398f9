"""Event: an instance changed its state, or spot wants it back. Settles the run that lost it. Runs in Lambda."""

from typing import Any

from lambdas.adapters.cloud import Cloud, cloud
from lambdas.adapters.runs_table import Superseded
from lambdas.adapters.telemetry import about, logger
from lambdas.core.instances import Instance
from lambdas.core.losses import loss
from lambdas.core.records import TERMINAL_STATES, RunRecord
from lambdas.core.reducer import Settlement, settlement
from lambdas.flows.reporting import take_in, tell

SPOT_WARNING = "EC2 Spot Instance Interruption Warning"


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], _context: Any) -> None:
    """Note a spot warning; after a loss, believe the instance's last report first, then call the attempt lost."""
    found, instance_id = cloud(), event["detail"]["instance-id"]
    instance = found.compute.instance(instance_id)
    record = _current_run(found, instance) if instance else None
    if record is None or instance is None:
        return
    about(record.run_id, attempt=record.attempt, instance_id=instance_id)
    if event["detail-type"] == SPOT_WARNING:
        logger.warning("spot interruption notice")
        _note_interruption(found, record)
        return
    record = take_in(found, record, instance_id)
    tell(record, _settlement(record, event["detail"]["state"], instance.reason, found.now()))


def _current_run(found: Cloud, instance: Instance) -> RunRecord | None:
    """Return the record whose current attempt an instance is, or None."""
    record = found.runs.load(instance.run_id)
    if record is None or record.attempt != instance.attempt.attempt:
        return None
    return record if record.instance_id in ("", instance.instance_id) else None


def _note_interruption(found: Cloud, record: RunRecord) -> None:
    try:
        found.runs.note_attempt(record, {"interruption_at": found.now()})
    except Superseded:
        logger.info("the attempt is over already")


def _settlement(record: RunRecord, state: str, reason: str, now: int) -> Settlement | None:
    if record.state in TERMINAL_STATES:
        return settlement(record, now)
    code, message = loss(record, state, reason, now)
    return Settlement("failure", code=code, message=message)
