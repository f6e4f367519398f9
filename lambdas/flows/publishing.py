"""Put what a machine left in its own folder where people look, out of every machine's reach. Runs in Lambda."""

from concurrent.futures import ThreadPoolExecutor

from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from contracts import layout
from contracts.reasons import ArtifactsInvalid
from lambdas.adapters.cloud import Cloud
from lambdas.adapters.telemetry import logger
from lambdas.core.records import RunRecord
from lambdas.flows.verifying import MOST_NAMED, WORKERS, Verified


def publish(cloud: Cloud, record: RunRecord, verified: Verified) -> None:
    """Copy the verified results of the current attempt to the run's prefix, training.json last. May be repeated.

    Raises
    ------
    ArtifactsInvalid
        When one is no longer what was verified.
    """
    folder = cloud.folder(record)

    def copied(path: str) -> bool:
        return cloud.objects.copy(folder + path, record.prefix + path, verified.etags[path])

    results = [path for path in verified.etags if path != layout.TRAINING]
    with ThreadPoolExecutor(WORKERS) as pool:
        changed = [path for path, done in zip(results, pool.map(copied, results), strict=True) if not done]
    changed += [] if changed or copied(layout.TRAINING) else [layout.TRAINING]
    if changed:
        named = ", ".join(changed[:MOST_NAMED])
        raise ArtifactsInvalid(f"{named}: expected what was verified a moment ago, found something else.")


def publish_told(cloud: Cloud, record: RunRecord, *more: str) -> list[str]:
    """Copy what the attempt's machine said of itself: last report, logs and `more`; returns the keys of the logs.

    As it is now: what was verified has its own copy already. What is not there is left out. Never fails: best effort.
    """
    if not record.instance_id:
        return []
    folder, kept = cloud.folder(record), evidence_folder(record)
    for name in (layout.SYSTEM_STATE, *more):
        _copied(cloud, folder + name, record.prefix + name)
    return [kept + name for name in layout.MACHINE_LOGS if _copied(cloud, f"{folder}{layout.LOGS}{name}", kept + name)]


def evidence_folder(record: RunRecord) -> str:
    """Return the key prefix of the current attempt's logs."""
    return f"{record.prefix}{layout.LOGS}attempt-{record.attempt}/"


def _copied(cloud: Cloud, source: str, key: str) -> bool:
    try:
        found = cloud.objects.look(source)
        return found is not None and cloud.objects.copy(source, key, found.etag)
    except (ClientError, BotoCoreError, HTTPError) as error:
        logger.warning("could not keep a copy", extra={"key": key, "problem": str(error)[:300]})
        return False
