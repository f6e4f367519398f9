"""Check that the artifacts a run claims are in the bucket, byte for byte. Runs in Lambda."""

from concurrent.futures import ThreadPoolExecutor

from contracts import layout
from contracts.documents import Document
from contracts.reasons import ArtifactsInvalid
from lambdas.adapters.cloud import Cloud
from lambdas.core.records import RunRecord

WORKERS = 16


def verify_artifacts(cloud: Cloud, record: RunRecord) -> Document:
    """Return training.json once each artifact in it has the size and SHA-256 it says, as S3 verified on upload.

    Raises
    ------
    ArtifactsInvalid
        Naming the first artifacts that are missing or differ.
    """
    training = cloud.objects.document("training", record.prefix + layout.TRAINING)
    if training is None:
        raise ArtifactsInvalid("training.json: expected a document that follows its contract, found none.")
    if training["status"] != "completed" or training["attempt"] != record.attempt:
        raise ArtifactsInvalid(
            f"training.json: expected completed attempt {record.attempt}, "
            f"found {training['status']} {training['attempt']}."
        )
    problems = required_missing(record, training)
    with ThreadPoolExecutor(WORKERS) as pool:
        problems += filter(None, pool.map(lambda artifact: _problem(cloud, record, artifact), training["artifacts"]))
    if problems:
        raise ArtifactsInvalid("; ".join(problems[:5]) + (f"; {len(problems)} in all." if len(problems) > 5 else "."))
    return training


def required_missing(record: RunRecord, training: Document) -> list[str]:
    """Return what a completed run must list among its artifacts and does not."""
    listed = {artifact["path"] for artifact in training["artifacts"]}
    required = [layout.MODEL_METADATA] + [
        f"{folder}/{model}.parquet" for model in record.request["models"] for folder in ("forecasts", "backtest")
    ]
    return [f"{path}: expected in training.json, found no entry" for path in required if path not in listed]


def _problem(cloud: Cloud, record: RunRecord, artifact: Document) -> str:
    found = cloud.objects.size_and_sha256(record.prefix + artifact["path"])
    if found is None:
        return f"{artifact['path']}: expected {artifact['bytes']} bytes, found no object"
    if found != (artifact["bytes"], artifact["sha256"]):
        wanted = f"{artifact['bytes']} bytes with SHA-256 {artifact['sha256'][:12]}"
        return f"{artifact['path']}: expected {wanted}, found {found[0]} with {found[1][:12]}"
    return ""
