"""Put what a machine left in its own folder where people look, out of every machine's reach. Runs in Lambda.

Results go there in two steps. First all of them are copied to a folder that no machine can write, each only if it still
is what was verified; a training.json beside them says that all are there. Only then are they put in their places. So a
machine has no say in what becomes visible, and a second step that breaks off is taken up by the next call.
"""

import hashlib
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from contracts import layout
from contracts.documents import Document
from contracts.reasons import ArtifactsInvalid, RunEnded
from lambdas.adapters.cloud import Cloud
from lambdas.adapters.objects import Stamp
from lambdas.adapters.telemetry import logger
from lambdas.core.records import RunRecord
from lambdas.flows.verifying import MOST_NAMED, WORKERS, Verified, claim_key, staged_claim

STAGED_TAGS = "=".join(layout.STAGED_TAG)
# Nobody but this function writes what is staged, and what differs has another name.
ANY = ""


def publish(cloud: Cloud, record: RunRecord, verified: Verified) -> None:
    """Stage the verified results of the current attempt, then put them in their places, training.json last.

    May be repeated, after whatever part of it was done.

    Raises
    ------
    ArtifactsInvalid
        When one is no longer what was verified; then none is put in its place.
    RunEnded
        When the run has ended meanwhile: what is put in place then would be the results of a run that is over.
    """
    claim = verified if verified.staged else _stage(cloud, record, verified)
    _refuse_ended(cloud, record)
    _place(cloud, record, claim)


def _stage(cloud: Cloud, record: RunRecord, verified: Verified) -> Verified:
    """Copy the results out of the machine's reach; returns what is staged, by whichever call was done first."""
    folder, staged = cloud.folder(record), _folder(record, verified)

    def copied(artifact: Document) -> bool:
        path = artifact["path"]
        return cloud.objects.copy(folder + path, staged + path, verified.stamps[path], STAGED_TAGS)

    changed = _not_done(copied, verified.training["artifacts"])
    if changed:
        named = ", ".join(changed[:MOST_NAMED])
        raise ArtifactsInvalid(f"{named}: expected what was verified a moment ago, found something else.")
    if cloud.objects.replace(claim_key(record), verified.content, "", tags=STAGED_TAGS):
        return verified
    # A call that was given up, or whose answer was lost, was done first. Two sets of results must not mix.
    return staged_claim(cloud, record) or verified


def _place(cloud: Cloud, record: RunRecord, claim: Verified) -> None:
    staged = _folder(record, claim)

    def placed(artifact: Document) -> bool:
        key, wanted = record.prefix + artifact["path"], Stamp(artifact["bytes"], artifact["sha256"], ANY)
        there = cloud.objects.look(key)
        if there is not None and replace(there, etag=ANY) == wanted:
            return True
        return cloud.objects.copy(staged + artifact["path"], key, wanted)

    missing = _not_done(placed, claim.training["artifacts"])
    if missing:
        raise ArtifactsInvalid(f"{', '.join(missing[:MOST_NAMED])}: expected the copy in {staged}, found none.")
    cloud.objects.put(record.prefix + layout.TRAINING, claim.content)


def _folder(record: RunRecord, claim: Verified) -> str:
    """Return where the artifacts of a claim are staged: what differs in any of them is another claim."""
    return f"{layout.staging_folder(record.prefix, record.attempt)}{hashlib.sha256(claim.content).hexdigest()}/"


def _not_done(copy: Callable[[Document], bool], artifacts: list[Document]) -> list[str]:
    with ThreadPoolExecutor(WORKERS) as pool:
        return [a["path"] for a, done in zip(artifacts, pool.map(copy, artifacts), strict=True) if not done]


def _refuse_ended(cloud: Cloud, record: RunRecord) -> None:
    newest = cloud.runs.load(record.run_id)
    if newest and (newest.closed_at or newest.ended_at):
        raise RunEnded(newest.ended_as)


def publish_told(cloud: Cloud, record: RunRecord, *more: str, until: float = math.inf) -> list[str]:
    """Copy what the attempt's machine said of itself: last report, logs and `more`; returns the keys of the logs.

    As it is now: what was verified has its own copy already. What is not there is left out. Never fails: best effort,
    and no copy is begun after `until` (time.monotonic).
    """
    if not record.instance_id:
        return []
    folder, kept = cloud.folder(record), evidence_folder(record)
    for name in (layout.SYSTEM_STATE, *more):
        _copied(cloud, folder + name, record.prefix + name, until)
    logs = layout.MACHINE_LOGS
    return [kept + name for name in logs if _copied(cloud, f"{folder}{layout.LOGS}{name}", kept + name, until)]


def evidence_folder(record: RunRecord) -> str:
    """Return the key prefix of the current attempt's logs."""
    return f"{record.prefix}{layout.LOGS}attempt-{record.attempt}/"


def _copied(cloud: Cloud, source: str, key: str, until: float) -> bool:
    if time.monotonic() > until:
        logger.warning("no time is left for a copy", extra={"key": key})
        return False
    try:
        found = cloud.objects.look(source)
        return found is not None and cloud.objects.copy(source, key, found)
    except (ClientError, BotoCoreError, HTTPError) as error:
        logger.warning("could not keep a copy", extra={"key": key, "problem": str(error)[:300]})
        return False
