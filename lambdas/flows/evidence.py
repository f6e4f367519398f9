"""Keep in S3 what tells why an attempt failed, whatever became of its machine. Runs in Lambda."""

from botocore.exceptions import BotoCoreError, ClientError

from contracts import layout
from contracts.documents import Document, dump
from lambdas.adapters.cloud import Cloud
from lambdas.adapters.telemetry import logger
from lambdas.core import evidence
from lambdas.core.records import RunRecord


def address(cloud: Cloud, record: RunRecord | None, execution_arn: str) -> str:
    """Return where the evidence of a run, or of a refused execution, lies: s3://..."""
    return f"s3://{cloud.objects.bucket}/{evidence.folder(record, execution_arn)}"


def keep(cloud: Cloud, record: RunRecord, code: str, cause: str, caught: Document | None = None) -> None:
    """Write ending.json and the console, in which cloud-init's output is, to logs/attempt-<n>/ of the run.

    The machine's own logs are beside them, as far as it could upload them, and named in ending.json. Never fails:
    evidence is best effort.
    """
    told = evidence.document(record.execution_arn, record, code, cause, caught, cloud.now())
    prefix = f"{record.prefix}logs/attempt-{record.attempt}/"
    try:
        told["instance"] = _instance(cloud, record, prefix)
    except (ClientError, BotoCoreError) as error:
        logger.warning("could not ask for the instance or keep its console", extra={"problem": str(error)[:300]})
    try:
        told["logs"] = _logs(cloud, prefix)
    except (ClientError, BotoCoreError) as error:
        logger.warning("could not look for the machine's logs", extra={"problem": str(error)[:300]})
    _put(cloud, prefix + layout.ENDING, told)


def keep_refusal(cloud: Cloud, execution_arn: str, code: str, cause: str, caught: Document | None) -> None:
    """Write ending.json of an execution that was refused before it had a run. Never fails."""
    told = evidence.document(execution_arn, None, code, cause, caught, cloud.now())
    _put(cloud, evidence.folder(None, execution_arn) + layout.ENDING, told)


def _instance(cloud: Cloud, record: RunRecord, prefix: str) -> Document | None:
    """Return what EC2 says of the attempt's instance, its console kept; None when none was launched."""
    instance_id = record.instance_id or _found(cloud, record)
    if not instance_id:
        return None
    console = cloud.compute.console(instance_id)
    if console:
        cloud.objects.put(prefix + layout.CONSOLE, console, "text/plain")
    state = cloud.compute.state_of(instance_id)
    return {"instance_id": instance_id, "state": state, "console": bool(console)}


def _logs(cloud: Cloud, prefix: str) -> list[str]:
    """Return the keys of an attempt's logs that are there."""
    keys = [prefix + name for name in (*layout.MACHINE_LOGS, layout.CONSOLE)]
    return [key for key in keys if cloud.objects.size_and_sha256(key)]


def _found(cloud: Cloud, record: RunRecord) -> str:
    """Return the instance of an attempt whose launch nobody could put on record, by its tags; "" when there is none."""
    found = [*record.attempts, *cloud.compute.launched(record.run_id)]
    return next((a.instance_id for a in found if a.attempt == record.attempt), "")


def _put(cloud: Cloud, key: str, document: Document) -> None:
    try:
        cloud.objects.put(key, dump("ending", document))
    except (ClientError, BotoCoreError, ValueError) as error:
        logger.warning("could not keep the evidence", extra={"key": key, "problem": str(error)[:300]})
