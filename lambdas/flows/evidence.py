"""Keep what tells why an attempt failed: the instance's console, in S3. Runs in Lambda."""

from botocore.exceptions import BotoCoreError, ClientError

from lambdas.adapters.cloud import Cloud
from lambdas.adapters.telemetry import logger
from lambdas.core.records import RunRecord


def keep_console(cloud: Cloud, record: RunRecord) -> None:
    """Copy the console output, in which cloud-init's is, to logs/ of the run. Never fails: evidence is best effort."""
    if not record.instance_id:
        return
    try:
        console = cloud.compute.console(record.instance_id)
        if console:
            cloud.objects.put(f"{record.prefix}logs/attempt-{record.attempt}/console.log", console, "text/plain")
    except (ClientError, BotoCoreError) as error:
        logger.warning("could not keep the console output", extra={"problem": str(error)[:300]})
