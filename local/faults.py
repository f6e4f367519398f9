"""Break a running instance on purpose, for tests and demonstrations. Runs on a person's machine, beside the cloud."""

import json
import urllib.error
import urllib.request
from pathlib import Path

from local.fault_file import FaultFile
from local.state_folder import StateFolder, read_json, write_json


class FaultRefused(RuntimeError):
    """The embedded cloud did not carry out a fault; the message says why."""


class Faults:
    """Breaks instances and launches of one embedded cloud.

    Parameters
    ----------
    state_folder : Path
        State folder of the running cloud.
    """

    def __init__(self, state_folder: Path) -> None:
        self._folder = StateFolder(state_folder)

    def hang(self, instance_id: str) -> str:
        """Freeze every process of the instance: it lives, and says nothing more."""
        return self._order(instance_id, "hang")

    def stall(self, instance_id: str) -> str:
        """Freeze only the training worker: heartbeats go on, progress does not."""
        return self._order(instance_id, "stall")

    def resume(self, instance_id: str) -> str:
        """Let frozen processes go on."""
        return self._order(instance_id, "resume")

    def kill(self, instance_id: str) -> str:
        """Lose the machine at once, without a farewell."""
        return self._order(instance_id, "kill")

    def interrupt(self, instance_id: str, notice_seconds: float | None = None) -> str:
        """Interrupt a spot instance, `notice_seconds` before its end (default: the server's, 120 s)."""
        return self._order(instance_id, "interrupt", {"notice_seconds": notice_seconds})

    def fill_disk(self, instance_id: str) -> str:
        """Let the disk of an instance be full; it has to have been launched with `own_disk`, see `set_machines`."""
        return self._order(instance_id, "fill")

    def exhaust_memory(self, instance_id: str) -> str:
        """Let the kernel's choice of the training worker's processes be killed, as when memory runs out."""
        return self._order(instance_id, "exhaust")

    def set_clock(self, instance_id: str, seconds: int) -> str:
        """Put an instance's clock ahead (or behind); it has to have been launched with `own_clock`."""
        return self._order(instance_id, "clock", {"seconds": seconds})

    def set_machines(self, settings: dict[str, object]) -> None:
        """Change what coming machines get, see `local.machine_faults`; an empty mapping ends it."""
        write_json(self._folder.machines, settings)

    def set_capacity(self, faults: dict[str, object]) -> None:
        """Let launches fail, see `local.capacity`; an empty mapping ends it."""
        FaultFile(self._folder.capacity).order(faults)

    def set_quotas(self, quotas: dict[str, object]) -> None:
        """Change EC2 quotas (quota code -> vCPUs), see `local.service_quotas`; an empty mapping restores them."""
        write_json(self._folder.quotas, quotas)

    def set_tasks(self, faults: dict[str, object]) -> None:
        """Let states of state machines fail, see `local.task_faults`; an empty mapping ends it."""
        FaultFile(self._folder.tasks).order(faults)

    def set_events(self, faults: dict[str, object]) -> None:
        """Let events go astray, see `local.event_faults`; an empty mapping ends it."""
        FaultFile(self._folder.events).order(faults)

    def set_functions(self, faults: dict[str, object]) -> None:
        """Let functions end, pause or come late, see `local.function_faults`; an empty mapping ends it."""
        FaultFile(self._folder.functions).order(faults)

    def invocations(self) -> dict[str, list[list[str]]]:
        """Return the calls of each invocation by function, since `set_functions({"*": {"log": True}})`."""
        path = self._folder.function_calls
        found: dict[str, dict[str, list[str]]] = {}
        for line in path.read_text().splitlines() if path.exists() else []:
            function, invocation, call = line.split()
            found.setdefault(function, {}).setdefault(invocation, []).append(call)
        return {function: list(calls.values()) for function, calls in found.items()}

    def pending(self) -> list[str]:
        """Return the functions whose asynchronous events are under way or wait for another try."""
        return list(json.loads(self._ask("GET", "functions/pending")))

    def met(self) -> set[str]:
        """Return the names (states, detail-types, patterns, functions) of the faults that met something."""
        files = (self._folder.capacity, self._folder.tasks, self._folder.events, self._folder.functions)
        return {name for path in files for name in FaultFile(path).met()}

    def times_met(self, file: str, name: str) -> int:
        """Return how often a fault met something; `file` is `capacity`, `tasks`, `events` or `functions`."""
        return FaultFile(getattr(self._folder, file)).met().count(name)

    def _order(self, instance_id: str, action: str, body: dict[str, object] | None = None) -> str:
        return self._ask("POST", f"instances/{instance_id}/{action}", json.dumps(body or {}).encode())

    def _ask(self, method: str, path: str, body: bytes | None = None) -> str:
        action = path.rpartition("/")[2]
        address = read_json(self._folder.server).get("control_url")
        if not address:
            raise FaultRefused(f"{action}: expected a running cloud in {self._folder.path}, found none. Start it.")
        request = urllib.request.Request(f"{address}/{path}", body, method=method)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - always our own 127.0.0.1
                return str(answer.read().decode())
        except urllib.error.HTTPError as error:
            raise FaultRefused(f"{action}: {error.read().decode()}") from error
        except urllib.error.URLError as error:
            raise FaultRefused(f"{action}: the cloud does not answer at {address} ({error.reason}).") from error
