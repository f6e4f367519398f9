"""Phase data_sync: bring data and weights from S3, unchanged since the run was accepted. Runs in the worker."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from contracts.layout import is_path_below
from contracts.plain import plain
from contracts.reasons import DataSyncFailed
from instance.downloads import Download
from instance.objects import download_all
from instance.reporting import Reporter

if TYPE_CHECKING:
    from instance.dataset import DataFile


@dataclass(frozen=True)
class Inputs:
    """What a run computes with: the data files, and the weights folder when a Chronos model is asked for."""

    files: "list[DataFile]"
    weights: Path | None


def sync(client: Any, manifest: dict[str, Any], work_dir: Path, reporter: Reporter, details: dict[str, Any]) -> Inputs:
    """Download what the manifest lists, in parallel.

    Parameters
    ----------
    client
        S3.
    manifest : dict
        manifest.json.
    work_dir : Path
        Files go to data/ and weights/ below it.
    reporter : Reporter
        Told the bytes.
    details : dict
        Filled with bytes_synced, objects and retries.

    Raises
    ------
    DataSyncFailed
        See `download_all`.
    """
    downloads = download(client, manifest, work_dir, reporter, details)
    # Here and not above: it brings pandas, which takes longer to load than many a download.
    from instance.dataset import DataFile  # noqa: PLC0415

    dataset, weights = manifest["dataset"], manifest["chronos_weights"]
    data = downloads[: len(dataset["objects"])]
    files = [DataFile(one.key.removeprefix(dataset["prefix"]), one.path, one.sha256) for one in data]
    return Inputs(files, work_dir / "weights" / weights["name"] if weights else None)


def download(
    client: Any, manifest: dict[str, Any], work_dir: Path, reporter: Reporter, details: dict[str, Any]
) -> list[Download]:
    """Bring what `sync` brings, with its parameters and errors; returns the data's files, then the weights'."""
    dataset, weights = manifest["dataset"], manifest["chronos_weights"]
    data = _placed(dataset, work_dir / "data")
    model = _placed(weights, work_dir / "weights" / weights["name"]) if weights else []
    reporter.expect(sum(reference["bytes"] for reference, _ in data + model), "bytes", "Downloading data and weights.")
    downloads = download_all(client, manifest["bucket"], data + model, reporter.advance)
    details["bytes_synced"] = sum(one.bytes for one in downloads)
    details["objects"] = len(downloads)
    details["retries"] = sum(one.retries for one in downloads)
    return downloads


def _placed(source: dict[str, Any], folder: Path) -> list[tuple[dict[str, Any], Path]]:
    # By name only, since nothing but our own downloads is in the folder: asking the disk takes long for many files.
    root = os.path.normpath(folder.resolve())
    placed = []
    for reference in source["objects"]:
        path = os.path.normpath(os.path.join(root, reference["key"].removeprefix(source["prefix"])))  # noqa: PTH118
        # An S3 key may hold "..", or begin with a slash: it must not reach a file outside the folder.
        if not path.startswith(root + os.sep) or not is_path_below(reference["key"], source["prefix"]):
            name = plain(reference["key"])
            raise DataSyncFailed(f"{name}: expected a plain path below {source['prefix']}. Rename the object.")
        placed.append((reference, Path(path)))
    return placed
