"""Phase data_sync: bring data and weights from S3, unchanged since the run was accepted. Runs in the worker."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contracts.reasons import DataSyncFailed
from instance.dataset import DataFile
from instance.objects import Download, download_all
from instance.reporting import Reporter


@dataclass(frozen=True)
class Inputs:
    """What a run computes with: the data files, and the weights folder when a Chronos model is asked for."""

    files: list[DataFile]
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
    dataset, weights = manifest["dataset"], manifest["chronos_weights"]
    data = _placed(dataset, work_dir / "data")
    model = _placed(weights, work_dir / "weights" / weights["name"]) if weights else []
    reporter.expect(sum(reference["bytes"] for reference, _ in data + model), "bytes", "Downloading data and weights.")
    downloads = download_all(client, manifest["bucket"], data + model, reporter.advance)
    details["bytes_synced"] = sum(one.bytes for one in downloads)
    details["objects"] = len(downloads)
    details["retries"] = sum(one.retries for one in downloads)
    files = [_data_file(one, dataset["prefix"]) for one in downloads[: len(data)]]
    return Inputs(files, work_dir / "weights" / weights["name"] if weights else None)


def _placed(source: dict[str, Any], folder: Path) -> list[tuple[dict[str, Any], Path]]:
    placed = []
    for reference in source["objects"]:
        path = (folder / reference["key"].removeprefix(source["prefix"])).resolve()
        # An S3 key may hold "..": it must not reach a file outside the folder.
        if not path.is_relative_to(folder.resolve()) or not reference["key"].startswith(source["prefix"]):
            raise DataSyncFailed(f"{reference['key']}: expected a key below {source['prefix']}. Rename the object.")
        placed.append((reference, path))
    return placed


def _data_file(download: Download, prefix: str) -> DataFile:
    return DataFile(download.key.removeprefix(prefix), download.path, download.sha256)
