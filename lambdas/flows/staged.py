"""What a run needs in the bucket before it starts: its data set and its weights. Runs in Lambda and in the CLI."""

import time
from collections.abc import Callable, Iterator

from contracts import layout
from contracts.documents import Document
from contracts.models import needs_weights
from contracts.reasons import DatasetInvalid, DatasetNotFound, ModelWeightsMissing
from lambdas.adapters.objects import Objects
from lambdas.adapters.telemetry import logger
from lambdas.core import acceptance
from lambdas.core.dataset_head import head_problems

CHECKED_FILES = 50
# CSV files up to this size are read to the end, as long as all that was read is not more than this, and took no longer.
# `python -m benchmarks.controller` says what that costs.
CHECKED_BYTES = 4 * 1024 * 1024
CHECKED_BYTES_IN_ALL = 64 * 1024 * 1024
CHECKED_SECONDS = 40.0
HEAD_BYTES = 64 * 1024
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")


def dataset_folder(objects: Objects, request: Document) -> Document:
    """Return the manifest's entry of the data set, the newest one if the request names none, its heads looked at.

    Raises
    ------
    DatasetNotFound, DatasetInvalid
    """
    name = request["dataset"] or acceptance.newest_dataset(objects.listed(layout.DATASETS))
    if name is None:
        raise DatasetNotFound("dataset: expected Parquet or CSV files below datasets/<name>/, found none.")
    prefix = f"{layout.DATASETS}{name}/"
    stored = objects.listed(prefix)
    files = [o for o in stored if o.key.endswith(layout.DATA_SUFFIXES) and o.size]
    if not files:
        found = f"{len(stored)} other or empty objects" if stored else "nothing"
        raise DatasetNotFound(f"dataset: expected Parquet or CSV files below {prefix}, found {found}.")
    if problem := acceptance.path_problem(files, prefix):
        raise DatasetInvalid(problem)
    head_problems(heads(objects, files[:CHECKED_FILES]))
    return acceptance.folder(name, prefix, files)


def heads(
    objects: Objects, files: list[acceptance.Stored], clock: Callable[[], float] = time.monotonic
) -> Iterator[tuple[str, bytes, bool]]:
    """Yield (key, content, whole) of data files within a budget: the rest is the machine's to check.

    A CSV file is read up to CHECKED_BYTES while CHECKED_BYTES_IN_ALL allow it, else, like Parquet, its first
    HEAD_BYTES. After CHECKED_SECONDS of `clock` no more files are looked at.
    """
    ends_at, left = clock() + CHECKED_SECONDS, CHECKED_BYTES_IN_ALL
    for file in files:
        if clock() >= ends_at:
            logger.info("the other data files are left for the machine to check", extra={"key": file.key[:200]})
            return
        wanted = min(file.size, CHECKED_BYTES)
        limit = HEAD_BYTES if file.key.endswith(".parquet") or wanted > left else CHECKED_BYTES
        content = objects.head(file.key, limit) or b""
        left -= len(content)
        yield file.key, content, file.size <= limit


def weights_folder(objects: Objects, request: Document) -> Document | None:
    """Return the manifest's entry of the Chronos weights, None if no model needs them; raises ModelWeightsMissing."""
    if not needs_weights(request["models"]):
        return None
    name = request["chronos_weights"]
    prefix = f"{layout.MODEL_WEIGHTS}{name}/"
    stored = [o for o in objects.listed(prefix) if o.size]
    names = [o.key.removeprefix(prefix) for o in stored]
    if problem := acceptance.path_problem(stored, prefix):
        raise ModelWeightsMissing(problem)
    pickled = [n for n in names if n.endswith(_PICKLES)]
    if pickled:
        raise ModelWeightsMissing(f"{prefix}{pickled[0]}: expected safetensors only, found a pickled file; delete it.")
    if "config.json" not in names or not any(n.endswith(".safetensors") for n in names):
        found = ", ".join(names[:5]) or "nothing"
        raise ModelWeightsMissing(
            f"chronos_weights: expected config.json and model.safetensors below {prefix}, found {found}."
        )
    return acceptance.folder(name, prefix, stored)
