"""Check that the artifacts a run claims are in the bucket, byte for byte. Runs in Lambda."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from contracts import layout
from contracts.documents import Document
from contracts.reasons import ArtifactsInvalid
from lambdas.adapters.cloud import Cloud
from lambdas.adapters.objects import Stamp
from lambdas.core.records import RunRecord

WORKERS = 16
MOST_NAMED = 5


@dataclass(frozen=True)
class Verified:
    """training.json, and the ETag of it and of each artifact by path below the machine's folder, as verified."""

    training: Document
    etags: dict[str, str]


def verify_artifacts(cloud: Cloud, record: RunRecord) -> Verified:
    """Return what the machine claims once each artifact has the size and SHA-256 it says, as S3 verified on upload.

    Raises
    ------
    ArtifactsInvalid
        Naming the first artifacts that are missing, differ, or have a path that no result has.
    """
    folder = cloud.folder(record)
    # Looked at before it is read, so that what is copied later cannot be newer than what was read.
    stamp = cloud.objects.look(folder + layout.TRAINING)
    training = cloud.objects.document("training", folder + layout.TRAINING) if stamp else None
    if training is None or stamp is None:
        raise ArtifactsInvalid("training.json: expected a document that follows its contract, found none.")
    if training["status"] != "completed" or training["attempt"] != record.attempt:
        raise ArtifactsInvalid(
            f"training.json: expected completed attempt {record.attempt}, "
            f"found {training['status']} {training['attempt']}."
        )
    artifacts = training["artifacts"]
    problems = required_missing(record, training) + [_strange(a["path"]) for a in artifacts if _strange(a["path"])]
    with ThreadPoolExecutor(WORKERS) as pool:
        found = list(pool.map(lambda artifact: cloud.objects.look(folder + artifact["path"]), artifacts))
    problems += filter(None, map(_problem, artifacts, found))
    if problems:
        more = f"; {len(problems)} in all." if len(problems) > MOST_NAMED else "."
        raise ArtifactsInvalid("; ".join(problems[:MOST_NAMED]) + more)
    etags = {artifact["path"]: one.etag for artifact, one in zip(artifacts, found, strict=True) if one}
    return Verified(training, {**etags, layout.TRAINING: stamp.etag})


def required_missing(record: RunRecord, training: Document) -> list[str]:
    """Return what a completed run must list among its artifacts and does not."""
    listed = {artifact["path"] for artifact in training["artifacts"]}
    required = [layout.MODEL_METADATA] + [
        f"{folder}/{model}.parquet" for model in record.request["models"] for folder in ("forecasts", "backtest")
    ]
    return [f"{path}: expected in training.json, found no entry" for path in required if path not in listed]


def _strange(path: str) -> str:
    return "" if layout.is_result(path) else f"{path}: expected one of {', '.join(layout.RESULTS)}"


def _problem(artifact: Document, found: Stamp | None) -> str:
    if found is None:
        return f"{artifact['path']}: expected {artifact['bytes']} bytes, found no object"
    if (found.size, found.sha256) != (artifact["bytes"], artifact["sha256"]):
        wanted = f"{artifact['bytes']} bytes with SHA-256 {artifact['sha256'][:12]}"
        return f"{artifact['path']}: expected {wanted}, found {found.size} with {found.sha256[:12]}"
    return ""
