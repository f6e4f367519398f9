"""Take in the newest report of an instance and settle the state that waits for it. Runs in Lambda."""

from contracts.documents import Document
from lambdas.adapters import executions
from lambdas.adapters.cloud import Cloud
from lambdas.adapters.runs_table import Superseded
from lambdas.adapters.telemetry import logger
from lambdas.core import reducer
from lambdas.core.records import RunRecord


def take_in(cloud: Cloud, record: RunRecord, instance_id: str = "") -> RunRecord:
    """Return `record` with the newest system-state.json applied; the object decides, never the event about it.

    Read is what the attempt's own machine wrote, where no other machine can write. `instance_id` names a machine that
    is known to be the attempt's, for a record that does not name it yet.
    """
    machine = record.instance_id or instance_id
    state = cloud.objects.state(cloud.folder(record, machine)) if machine else None
    if state is None:
        return record
    return _applied(cloud, record.with_changes({"instance_id": machine}), state)


def _applied(cloud: Cloud, record: RunRecord, state: Document) -> RunRecord:
    refusal = reducer.refusal(record, state)
    if refusal:
        logger.info("a report changes nothing", extra={"why": refusal})
        return record
    try:
        return cloud.runs.advance(record, reducer.advance(record, state, cloud.now()))
    except Superseded:
        return cloud.runs.load(record.run_id) or record


def report(cloud: Cloud, record: RunRecord, instance_id: str = "") -> RunRecord:
    """Take in the newest report and tell the waiting state. Called after a token was stored and on every event.

    Whoever comes second of the two, token or report, finds the other: none is lost, whichever is early.
    """
    record = take_in(cloud, record, instance_id)
    tell(record, reducer.settlement(record, cloud.now()))
    return record


def tell(record: RunRecord, settlement: reducer.Settlement | None) -> None:
    """Send a settlement to the state that waits for `record`, if there is one."""
    if settlement is None or not record.task_token or record.closed_at:
        return
    heard = executions.settle(record.task_token, settlement)
    if heard and settlement.kind != "heartbeat":
        logger.info("settled", extra={"stage": record.stage, "settlement": settlement.kind, "code": settlement.code})
