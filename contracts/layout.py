"""Where things are: run ids, S3 keys, tags. Runs in Lambda, on the instance and in the CLI."""

import hashlib
import re
from collections.abc import Iterator
from datetime import datetime
from fnmatch import fnmatchcase
from itertools import count

from contracts.plain import CONTROLS

DATASETS = "datasets/"
REQUESTS = "requests/"
RUNS = "phase1/"
MODEL_WEIGHTS = "cached-models/"
PYTHON_ENVIRONMENTS = "cached-datasets/python-env/"
REGISTRY = "control_registry.json"

SYSTEM_STATE = "system-state.json"
MANIFEST = "manifest.json"
TRAINING = "training.json"
CLEANUP_STATUS = "cleanup_status.json"
MODEL_METADATA = "model_metadata.json"
# What a run leaves for people, and what training.json may list: keys below the run's prefix, `*` for any end.
RESULTS = (MODEL_METADATA, "forecasts/*", "backtest/*", "models/*")
# Where verified results wait, below the run's prefix, until all of them can be put in their places. Tagged, so that
# the bucket's lifecycle ends them: no function may delete.
STAGED = "staged/"
STAGED_TAG = ("Staged", "true")
STAGED_DAYS = 1
# What the bucket's lifecycle does to all objects of a run, in days after each was written.
ARCHIVED_DAYS = 30
KEPT_DAYS = 60
ENDING = "ending.json"
CONSOLE = "console.log"
TRAINING_LOG = "training.log"
# What a machine uploads of itself, below LOGS of its own folder.
LOGS = "logs/"
MACHINE_LOGS = ("bootstrap.log", TRAINING_LOG, "cloud-init-output.log")

# Names the newest Deep Learning AMI: https://docs.aws.amazon.com/dlami/latest/devguide/find-dlami-id.html
AMI_PARAMETER = "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-amazon-linux-2023/latest/ami-id"

TAG_PROJECT = "Project"
TAG_RUN_ID = "RunId"
# The ARN of the run's execution: whoever hears of its end finds its machines by it, with no record at hand.
TAG_EXECUTION = "Execution"
TAG_ATTEMPT = "Attempt"
TAG_RUN_PREFIX = "RunPrefix"
TAG_MAX_MINUTES = "MaxMinutes"
# Instance ids of the run's earlier attempts in their order, with a space between them; empty at the first.
TAG_EARLIER_INSTANCES = "EarlierInstances"

# Notes beside an uploaded request.
REJECTED_NOTE = ".rejected.txt"
STARTED_NOTE = ".started.txt"
# What the keys of the runs table's items begin with that say which execution an upload starts.
UPLOAD_CLAIMS = "upload#"
# Runs of one second that are told apart by counting.
COUNTED_RUN_IDS = 8
DATA_SUFFIXES = (".parquet", ".csv")

# Names of data sets and weights folders, as run_request.schema.json has them.
_FOLDER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)
_NO_PATH = re.compile(rf"[{CONTROLS}\\]|(?:^|/)\.{{0,2}}(?:/|$)")
_RUN_ID = re.compile(r"(\d{4})(\d{2})(\d{2})-(\d{6})(-\d{1,12})?", re.ASCII)
_STATE_KEY = re.compile(
    r"phase1/(\d{4})/(\d{2})/(\d{2})-(\d{6}(?:-\d{1,12})?)/machines/[A-Za-z0-9-]+:(i-[0-9a-f]+)/system-state\.json",
    re.ASCII,
)


def run_id_at(moment: datetime, clash: int = 1) -> str:
    """Return the run id of `moment` (UTC), suffixed with `clash` from the second of the same second on."""
    stem = moment.strftime("%Y%m%d-%H%M%S")
    return stem if clash == 1 else f"{stem}-{clash}"


def run_ids_at(moment: datetime, execution_arn: str) -> Iterator[str]:
    """Yield the run ids that an execution of `moment` (UTC) may take, without an end, the same ones each time.

    The first few are counted. Those after them have twelve digits of the execution's own, so that the hundreds of runs
    that may begin in one second need not try out each other's.
    """
    for clash in range(1, COUNTED_RUN_IDS + 1):
        yield run_id_at(moment, clash)
    for turn in count():
        digest = hashlib.sha256(f"{execution_arn} {turn}".encode()).hexdigest()
        yield f"{run_id_at(moment)}-{int(digest, 16) % 10**12:012}"


def is_run_id(value: object) -> bool:
    """Return whether a value is the id of a run."""
    return isinstance(value, str) and _RUN_ID.fullmatch(value) is not None


def run_prefix(run_id: str) -> str:
    """Return the key prefix of a run: `phase1/2026/11/23-180000/`. Raises ValueError on a malformed id."""
    match = _RUN_ID.fullmatch(run_id)
    if not match:
        raise ValueError(f"run id: expected YYYYMMDD-HHMMSS, found {run_id[:60]!r}")
    year, month, day, time, clash = match.groups()
    return f"{RUNS}{year}/{month}/{day}-{time}{clash or ''}/"


def refusal_prefix(execution_name: str) -> str:
    """Return the key prefix of what tells why an execution was refused that never had a run."""
    return f"{RUNS}refused/{execution_name}/"


def machine_folder(prefix: str, role_id: str, instance_id: str) -> str:
    """Return the key prefix of all that a machine writes, below its run's prefix.

    IAM knows a machine by the id of its role and its own, and so can bind it to this folder whatever its run is:
    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html (aws:userid).
    """
    return f"{prefix}machines/{role_id}:{instance_id}/"


def staging_folder(prefix: str, attempt: int) -> str:
    """Return where the verified results of an attempt wait, below its run's prefix."""
    return f"{prefix}{STAGED}attempt-{attempt}/"


def source_of_state_key(key: str) -> tuple[str, str] | None:
    """Return run id and instance id that a `system-state.json` key belongs to, or None for any other key."""
    match = _STATE_KEY.fullmatch(key)
    return (f"{match[1]}{match[2]}{match[3]}-{match[4]}", match[5]) if match else None


def is_result(path: str) -> bool:
    """Return whether a path below a run's prefix can be one of its results."""
    return is_path_below(path, "") and any(fnmatchcase(path, pattern) for pattern in RESULTS)


def is_folder_name(name: str) -> bool:
    """Return whether `name` can be the name of a data set or of a weights folder."""
    return _FOLDER_NAME.fullmatch(name) is not None


def is_path_below(key: str, prefix: str) -> bool:
    r"""Return whether a key is a plain path below `prefix`, fit to be one on disk.

    S3 takes any text as a key. Not fit are `..`, `.` and empty parts (so also an absolute path), backslashes and
    control characters: https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html
    """
    return key.startswith(prefix) and not _NO_PATH.search(key[len(prefix) :])
