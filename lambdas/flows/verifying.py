"""Check that the artifacts a run claims are in the bucket, byte for byte. Runs in Lambda."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from contracts import layout
from contracts.documents import Document
from contracts.reasons import ArtifactsInvalid
from lambdas.adapters.cloud import Cloud
from lambdas.adapters.objects import MOST_DOCUMENT_BYTES, Stamp
from lambdas.core.records import RunRecord

WORKERS = 16
MOST_NAMED = 5


@dataclass(frozen=True)
class Verified:
    """What an attempt claims, and was found to be so.

    Parameters
    ----------
    content : bytes
        training.json as it was read, which lists the artifacts.
    training : dict
        The same, as a document.
    stamps : dict of str to Stamp
        What each artifact is, by its path below the machine's folder, as verified; empty for what has been staged.
    staged : bool
        Whether all of it has been staged before, out of the machine's reach.
    """

    content: bytes
    training: Document
    stamps: dict[str, Stamp] = field(default_factory=dict)
    staged: bool = False


def verify_artifacts(cloud: Cloud, record: RunRecord) -> Verified:
    """Return what the machine claims once each artifact has the size and SHA-256 it says, as S3 verified on upload.

    What an earlier call of the same attempt has staged stands, whatever the machine did to its own folder since.

    Raises
    ------
    ArtifactsInvalid
        Naming the first artifacts that are missing, differ, or have a path that no result has.
    """
    if (staged := staged_claim(cloud, record)) is not None:
        return staged
    folder = cloud.folder(record)
    content, training = _claim(cloud, folder + layout.TRAINING)
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
    stamps = {artifact["path"]: one for artifact, one in zip(artifacts, found, strict=True) if one}
    return Verified(content, training, stamps)


def staged_claim(cloud: Cloud, record: RunRecord) -> Verified | None:
    """Return what was verified of the current attempt and staged, every artifact of it; None before that."""
    key = claim_key(record)
    content, _ = cloud.objects.current(key)
    training = cloud.objects.parsed("training", key, content) if content is not None else None
    return Verified(content, training, staged=True) if content is not None and training else None


def claim_key(record: RunRecord) -> str:
    """Return the key of the training.json that says that all its artifacts are staged."""
    return layout.staging_folder(record.prefix, record.attempt) + layout.TRAINING


def required_missing(record: RunRecord, training: Document) -> list[str]:
    """Return what a completed run must list among its artifacts and does not."""
    listed = {artifact["path"] for artifact in training["artifacts"]}
    required = [layout.MODEL_METADATA] + [
        f"{folder}/{model}.parquet" for model in record.request["models"] for folder in ("forecasts", "backtest")
    ]
    return [f"{path}: expected in training.json, found no entry" for path in required if path not in listed]


def _claim(cloud: Cloud, key: str) -> tuple[bytes, Document]:
    """Return training.json, as it is and as a document."""
    content = cloud.objects.head(key, MOST_DOCUMENT_BYTES + 1)
    if content is not None and len(content) > MOST_DOCUMENT_BYTES:
        raise ArtifactsInvalid(f"training.json: expected at most {MOST_DOCUMENT_BYTES} bytes, found more.")
    training = cloud.objects.parsed("training", key, content) if content is not None else None
    if content is None or training is None:
        raise ArtifactsInvalid("training.json: expected a document that follows its contract, found none.")
    return content, training


def _strange(path: str) -> str:
    return "" if layout.is_result(path) else f"{path}: expected one of {', '.join(layout.RESULTS)}"


def _problem(artifact: Document, found: Stamp | None) -> str:
    if found is None:
        return f"{artifact['path']}: expected {artifact['bytes']} bytes, found no object"
    if (found.size, found.sha256) != (artifact["bytes"], artifact["sha256"]):
        wanted = f"{artifact['bytes']} bytes with SHA-256 {artifact['sha256'][:12]}"
        return f"{artifact['path']}: expected {wanted}, found {found.size} with {found.sha256[:12]}"
    return ""
