"""Keep in S3 what tells why an attempt failed, whatever became of its machine. Runs in Lambda."""

import time

from contracts import layout
from contracts.documents import Document, dump
from lambdas.adapters.clients import AWS_ERRORS, problem_of
from lambdas.adapters.cloud import Cloud
from lambdas.adapters.telemetry import logger
from lambdas.core import evidence
from lambdas.core.records import RunRecord
from lambdas.flows.publishing import evidence_folder, publish_told

# What is kept must not take the time of what has to be done; a call that hangs takes its own time beside.
KEEPING_SECONDS = 20.0


def address(cloud: Cloud, record: RunRecord | None, execution_arn: str) -> str:
    """Return where the evidence of a run, or of a refused execution, lies: s3://..."""
    return f"s3://{cloud.objects.bucket}/{evidence.folder(record, execution_arn)}"


def keep(cloud: Cloud, record: RunRecord, code: str, cause: str, caught: Document | None = None) -> None:
    """Write ending.json, the console, in which cloud-init's output is, and the machine's own logs to one folder.

    It is logs/attempt-<n>/ of the run; the logs are copied there as far as the machine could upload them, and named in
    ending.json. Never fails: evidence is best effort, and nothing is begun after KEEPING_SECONDS but ending.json.
    """
    until = time.monotonic() + KEEPING_SECONDS
    told = evidence.document(record.execution_arn, record, code, cause, caught, cloud.now())
    folder = evidence_folder(record)
    try:
        record = record.with_changes({"instance_id": record.instance_id or _found(cloud, record)})
        told["instance"] = _instance(cloud, record.instance_id, folder)
    except AWS_ERRORS as error:
        logger.warning("could not ask for the instance or keep its console", extra={"problem": problem_of(error)})
    console = [folder + layout.CONSOLE] if (told["instance"] or {}).get("console") else []
    told["logs"] = publish_told(cloud, record, layout.TRAINING, until=until) + console
    _put(cloud, folder + layout.ENDING, told)


def keep_refusal(cloud: Cloud, execution_arn: str, code: str, cause: str, caught: Document | None) -> None:
    """Write ending.json of an execution that was refused before it had a run. Never fails."""
    told = evidence.document(execution_arn, None, code, cause, caught, cloud.now())
    _put(cloud, evidence.folder(None, execution_arn) + layout.ENDING, told)


def _instance(cloud: Cloud, instance_id: str, folder: str) -> Document | None:
    """Return what EC2 says of the attempt's instance, its console kept; None when none was launched."""
    if not instance_id:
        return None
    instance = cloud.compute.instance(instance_id)
    console = cloud.compute.console(instance_id)
    if console:
        cloud.objects.put(folder + layout.CONSOLE, console, "text/plain")
    state, reason = (instance.state, instance.reason) if instance else ("", "")
    return {"instance_id": instance_id, "state": state, "state_reason": reason, "console": bool(console)}


def _found(cloud: Cloud, record: RunRecord) -> str:
    """Return the instance of an attempt whose launch nobody could put on record, by its tags; "" when there is none."""
    found = [*record.attempts, *cloud.compute.launched(record.run_id)]
    return next((a.instance_id for a in found if a.attempt == record.attempt), "")


def _put(cloud: Cloud, key: str, document: Document) -> None:
    try:
        cloud.objects.put(key, dump("ending", document))
    except (*AWS_ERRORS, ValueError) as error:
        logger.warning("could not keep the evidence", extra={"key": key, "problem": problem_of(error)})
