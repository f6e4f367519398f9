"""End every run of the stack before it is deleted, and leave nothing billable behind. Runs in Lambda."""

import time
from collections.abc import Callable
from functools import partial

from lambdas.adapters import executions
from lambdas.adapters.clients import AWS_ERRORS, PATIENT, AwsUnavailable, problem_of
from lambdas.adapters.cloud import Cloud
from lambdas.adapters.telemetry import about, logger
from lambdas.core.inventory import ANY_RUN, Inventory, plan
from lambdas.core.records import RunRecord
from lambdas.core.verdict import failed, verdict_to_record, with_leftovers
from lambdas.flows import evidence
from lambdas.flows.cleaning import clean, disarm
from lambdas.flows.recording import close, end_billing, record_verdict
from lambdas.flows.terminating import end_instances, on_record

PATIENCE_SECONDS = 600.0
POLL_SECONDS = 3.0
MOST_BLIND_LOOKS = 3
NEWEST_RUNS = 1000
STOPPED = "The stack was deleted while the run was under way. Next: deploy it again and start again."


def drain(cloud: Cloud, patience_seconds: float = PATIENCE_SECONDS) -> str:
    """End all machines, start nothing any more, close and record every run; returns what is left, "" for nothing.

    Whatever one step is refused, the next ones are made: what was refused is in the answer, so that it is tried again.
    """
    patient_until = time.monotonic() + patience_seconds
    brief = cloud.brief()
    end_instances(brief, ANY_RUN, lambda: _instances_on_record(brief))
    problems = [_tried("close the stack", lambda: cloud.runs.close_stack(cloud.now()))]
    records: list[RunRecord] = []
    problems.append(_tried("list the executions", partial(_stop_all, cloud, records, problems)))
    for record in records:
        problems.append(_tried(f"end the run {record.run_id}", partial(_end_run, cloud, record, patient_until)))
    left = _empty(cloud, patient_until)
    if not left.empty:
        return f"Left: {', '.join(left.remaining())}. Delete them, then delete the stack again."
    told = "; ".join(filter(None, problems))
    return f"Could not {told}. Delete the stack again." if told else ""


def _stop_all(cloud: Cloud, records: list[RunRecord], problems: list[str]) -> None:
    """Close the runs of all running executions, so that nothing launches for them any more, and stop those."""
    for arn in executions.running(cloud.settings.state_machine_arn):
        problems.append(_tried(f"close the run of {arn}", partial(_close, cloud, arn, records)))
        problems.append(_tried(f"stop {arn}", partial(executions.stop, arn, "Aborted", STOPPED, PATIENT)))


def _close(cloud: Cloud, arn: str, records: list[RunRecord]) -> None:
    record = cloud.runs.of_execution(arn)
    if record:
        records.append(close(cloud, record, "Aborted"))


def _end_run(cloud: Cloud, record: RunRecord, patient_until: float) -> None:
    about(record.run_id)
    evidence.keep(cloud, record, "Aborted", STOPPED)
    left = clean(cloud, record.run_id, record, "stack_deletion", patient_until - time.monotonic())
    if not left.instances_gone:
        return
    record = end_billing(cloud, record)
    where = evidence.address(cloud, record, record.execution_arn)
    told = with_leftovers(verdict_to_record(record, failed("Aborted", STOPPED)), left.remaining(), where)
    record_verdict(cloud, record, told["status"], told["reason_code"] or "", told["cause"] or "")
    if left.empty:
        disarm(cloud, record.run_id, "stack_deletion")


def _empty(cloud: Cloud, patient_until: float) -> Inventory:
    """Delete whatever else carries the tags of a run of this stack; returns what is left."""
    blind_looks = 0
    while True:
        inventory = cloud.compute.inventory(ANY_RUN)
        for resource in plan(inventory):
            logger.info("drain", extra={"resource": resource.resource_id, "result": cloud.compute.delete(resource)})
        blind_looks += not inventory.known
        if inventory.empty or blind_looks >= MOST_BLIND_LOOKS or time.monotonic() > patient_until:
            return inventory
        time.sleep(POLL_SECONDS)


def _instances_on_record(cloud: Cloud) -> list[str]:
    """Return the ids of all instances of runs that have not ended, as far as they are on record."""
    return [name for record in cloud.runs.newest(NEWEST_RUNS) if not record.ended_at for name in on_record(record)]


def _tried(what: str, act: Callable[[], None]) -> str:
    """Make a step that may fail; returns what went wrong, "" when nothing did."""
    try:
        act()
    except (*AWS_ERRORS, AwsUnavailable) as error:
        logger.warning("a step of the drain failed", extra={"step": what, "problem": problem_of(error)})
        return f"{what} ({problem_of(error)})"
    return ""
