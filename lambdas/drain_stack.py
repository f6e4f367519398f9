"""Custom resource: before the stack is deleted, end every run and leave no instance behind. Runs in Lambda."""

import json
import time
import urllib.request
from typing import Any

from lambdas.adapters import executions
from lambdas.adapters.cloud import Cloud, cloud
from lambdas.adapters.telemetry import about, logger
from lambdas.core.inventory import plan
from lambdas.core.records import RunRecord
from lambdas.flows import evidence
from lambdas.flows.cleaning import clean
from lambdas.flows.recording import close, end_billing, record_verdict

PATIENCE_SECONDS = 600
POLL_SECONDS = 3.0
STOPPED = "The stack was deleted while the run was under way. Next: deploy it again and start again."


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], _context: Any) -> None:
    """Answer CloudFormation: on Delete only once no instance of the project is left.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/crpg-ref-requesttypes-delete.html
    """
    problem = ""
    if event["RequestType"] == "Delete":
        try:
            problem = drain(cloud())
        except Exception as error:
            # Whatever it is, CloudFormation must hear it: without an answer it waits for an hour.
            logger.exception("drain failed")
            problem = f"{type(error).__name__}: {error}"
    _answer(event, problem)


def drain(found: Cloud) -> str:
    """Close every run that is under way and delete all tagged resources; returns what is left, "" when nothing is."""
    patient_until = time.monotonic() + PATIENCE_SECONDS
    for record in _stopped_runs(found):
        about(record.run_id)
        evidence.keep(found, record, "Aborted", STOPPED)
        receipt = clean(found, record, "stack_deletion", patient_until - time.monotonic())
        if receipt["everything_gone"]:
            ended = end_billing(found, record)
            record_verdict(found, ended, "aborted", "Aborted", STOPPED)
    return _empty(found, patient_until)


def _stopped_runs(found: Cloud) -> list[RunRecord]:
    """Close the runs of all running executions, so that nothing launches for them any more, and stop those."""
    records = []
    for arn in executions.running(found.settings.state_machine_arn):
        record = found.runs.of_execution(arn)
        if record:
            records.append(close(found, record, "Aborted"))
        executions.stop(arn, "Aborted", STOPPED)
    return records


def _empty(found: Cloud, patient_until: float) -> str:
    """Delete whatever else carries the tags of a run of this stack; returns what is left."""
    while True:
        inventory = found.compute.inventory(None)
        for resource in plan(inventory):
            logger.info("drain", extra={"resource": resource.resource_id, "result": found.compute.delete(resource)})
        if inventory.empty:
            return ""
        if time.monotonic() > patient_until:
            left = ", ".join(resource.resource_id for resource in inventory.resources)
            return f"Left: {left}. Delete them, then delete the stack again."
        time.sleep(POLL_SECONDS)


def _answer(event: dict[str, Any], problem: str) -> None:
    document = {
        "Status": "FAILED" if problem else "SUCCESS",
        "Reason": problem[:1000] or "drained",
        "PhysicalResourceId": event.get("PhysicalResourceId") or "drain",
        "StackId": event["StackId"],
        "RequestId": event["RequestId"],
        "LogicalResourceId": event["LogicalResourceId"],
    }
    url = event["ResponseURL"]
    if not url.startswith(("https://", "http://")):
        raise ValueError("ResponseURL: expected an HTTP address")
    # The address is CloudFormation's own, checked above to be HTTP.
    request = urllib.request.Request(url, json.dumps(document).encode(), {"Content-Type": ""}, method="PUT")  # noqa: S310
    with urllib.request.urlopen(request, timeout=30):  # noqa: S310
        logger.info("answered CloudFormation", extra={"status": document["Status"]})
