"""Keep in S3 what tells why an attempt failed, whatever became of its machine. Runs in Lambda."""

from botocore.exceptions import BotoCoreError, ClientError

from contracts import layout
from contracts.documents import Document, dump
from lambdas.adapters.cloud import Cloud
from lambdas.adapters.telemetry import logger
from lambdas.core import evidence
from lambdas.core.records import RunRecord
from lambdas.flows.publishing import evidence_folder, publish_told


def address(cloud: Cloud, record: RunRecord | None, execution_arn: str) -> str:
    """Return where the evidence of a run, or of a refused execution, lies: s3://..."""
    return f"s3://{cloud.objects.bucket}/{evidence.folder(record, execution_arn)}"


def keep(cloud: Cloud, record: RunRecord, code: str, cause: str, caught: Document | None = None) -> None:
    """Write ending.json, the console, in which cloud-init's output is, and the machine's own logs to one folder.

    It is logs/attempt-<n>/ of the run; the logs are copied there as far as the machine could upload them, and named in
    ending.json. Never fails: evidence is best effort.
    """
    told = evidence.document(record.execution_arn, record, code, cause, caught, cloud.now())
    folder = evidence_folder(record)
    try:
        record = record.with_changes({"instance_id": record.instance_id or _found(cloud, record)})
        told["instance"] = _instance(cloud, record.instance_id, folder)
    except (ClientError, BotoCoreError) as error:
        logger.warning("could not ask for the instance or keep its console", extra={"problem": str(error)[:300]})
    console = [folder + layout.CONSOLE] if (told["instance"] or {}).get("console") else []
    told["logs"] = publish_told(cloud, record, layout.TRAINING) + console
    _put(cloud, folder + layout.ENDING, told)


def keep_refusal(cloud: Cloud, execution_arn: str, code: str, cause: str, caught: Document | None) -> None:
    """Write ending.json of an execution that was refused before it had a run. Never fails."""
    told = evidence.document(execution_arn, None, code, cause, caught, cloud.now())
    _put(cloud, evidence.folder(None, execution_arn) + layout.ENDING, told)


def _instance(cloud: Cloud, instance_id: str, folder: str) -> Document | None:
    """Return what EC2 says of the attempt's instance, its console kept; None when none was launched."""
    if not instance_id:
        return None
    console = cloud.compute.console(instance_id)
    if console:
        cloud.objects.put(folder + layout.CONSOLE, console, "text/plain")
    state = cloud.compute.state_of(instance_id)
    return {"instance_id": instance_id, "state": state, "console": bool(console)}


def _found(cloud: Cloud, record: RunRecord) -> str:
    """Return the instance of an attempt whose launch nobody could put on record, by its tags; "" when there is none."""
    found = [*record.attempts, *cloud.compute.launched(record.run_id)]
    return next((a.instance_id for a in found if a.attempt == record.attempt), "")


def _put(cloud: Cloud, key: str, document: Document) -> None:
    try:
        cloud.objects.put(key, dump("ending", document))
    except (ClientError, BotoCoreError, ValueError) as error:
        logger.warning("could not keep the evidence", extra={"key": key, "problem": str(error)[:300]})
