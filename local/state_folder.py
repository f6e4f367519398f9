"""Where an embedded cloud keeps its files, one folder for all of it. Runs on a person's machine."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any, cast

CLOUD_MARKER = "CHRONOS_CLOUD"
INSTANCE_MARKER = "CHRONOS_INSTANCE"
PARENT_MARKER = "CHRONOS_LOCAL_PARENT"


class StateFolder:
    """The files of one embedded cloud.

    Parameters
    ----------
    path : Path
        The folder; it is created when something is written to it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()

    @property
    def identity(self) -> str:
        """Value of the `CHRONOS_CLOUD` variable that every process of this cloud carries."""
        return hashlib.sha256(str(self.path).encode()).hexdigest()[:16]

    @property
    def server(self) -> Path:
        """Port, process id and control address of the running server."""
        return self.path / "server.json"

    @property
    def log(self) -> Path:
        """What the server wrote."""
        return self.path / "server.log"

    @property
    def outputs(self) -> Path:
        """Outputs of the deployed stacks, as the CDK command line wrote them."""
        return self.path / "outputs.json"

    @property
    def assembly(self) -> Path:
        """The synthesized cloud assembly."""
        return self.path / "cdk.out"

    @property
    def capacity(self) -> Path:
        """Launch errors to answer with, see `local.capacity`."""
        return self.path / "capacity.json"

    @property
    def permissions(self) -> Path:
        """What IAM judged, see `local.permissions`."""
        return self.path / "permissions.jsonl"

    @property
    def calls(self) -> Path:
        """Every AWS call, see `local.call_log`."""
        return self.path / "calls.jsonl"

    @property
    def tasks(self) -> Path:
        """Tasks of state machines that fail on purpose, see `local.task_faults`."""
        return self.path / "tasks.json"

    @property
    def functions(self) -> Path:
        """What befalls functions on purpose, see `local.function_faults`."""
        return self.path / "functions.json"

    @property
    def function_calls(self) -> Path:
        """Which invocation made which call, see `local.function_faults`."""
        return self.path / "functions.calls"

    @property
    def events(self) -> Path:
        """Events that go astray on purpose, see `local.event_faults`."""
        return self.path / "events.json"

    @property
    def machines(self) -> Path:
        """How machines differ from the usual ones, see `local.machine_faults`."""
        return self.path / "machines.json"

    @property
    def quotas(self) -> Path:
        """Service quotas that differ from the defaults, see `local.service_quotas`."""
        return self.path / "quotas.json"

    @property
    def temporary(self) -> Path:
        """Scratch of the server and of the Lambda workers."""
        return self.path / "tmp"

    def instance(self, instance_id: str) -> Path:
        """Folder of one instance: console, shims and its scratch root."""
        return self.path / "instances" / instance_id


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file, or an empty one when there is no such file.

    Raises
    ------
    ValueError
        When the file does not hold a JSON object.
    """
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except json.JSONDecodeError as error:
        raise ValueError(f"{path.name}: expected a JSON object, found no JSON ({error}). Correct the file.") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path.name}: expected a JSON object, found {type(content).__name__}. Correct the file.")
    return cast(dict[str, Any], content)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file in one step, so that a reader never sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}.draft")
    draft.write_text(json.dumps(content, indent=2) + "\n")
    draft.replace(path)
