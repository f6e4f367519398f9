"""Callback tasks between their start and their settlement, and how long they may take. Runs in the cloud's server.

Follows https://docs.aws.amazon.com/step-functions/latest/dg/state-task.html (timeouts, heartbeats and their paths).
"""

import json
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from ministack.services import stepfunctions


@dataclass
class Waiting:
    """A callback task between its start and its settlement; settled exactly once."""

    arn: str
    event: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)
    heartbeat_at: float = field(default_factory=time.monotonic)
    settled: bool = False
    output: str | None = None
    error: tuple[str, str] | None = None

    def settle(self, output: str | None = None, error: tuple[str, str] | None = None) -> bool:
        """Settle the task and return True, or return False when it was settled before."""
        with self.lock:
            if self.settled:
                return False
            self.settled, self.output, self.error = True, output, error
            self.event.set()
            return True


def resolve_timeouts(state: Any, raw_input: Any, context: Any) -> Any:
    """Return the state with TimeoutSeconds and HeartbeatSeconds as numbers, taken from a path or expression.

    Raises
    ------
    _ExecutionError
        States.Runtime when a path or expression yields no positive whole number.
    """
    resolved = dict(state)
    jsonata = stepfunctions._state_query_language(state, context) == "JSONata"
    for name in ("TimeoutSeconds", "HeartbeatSeconds"):
        if jsonata and isinstance(state.get(name), str):
            resolved[name] = stepfunctions._jsonata_state_field(state, name, "number", raw_input, context)
        elif path := state.get(f"{name}Path"):
            effective = stepfunctions._apply_input_path(state, raw_input, context)
            resolved[name] = stepfunctions._resolve_path_or_ctx(path, effective, context)
        if name in resolved:
            _require_seconds(name, resolved[name])
    return resolved


def wait_for(task: Waiting, state: Any) -> None:
    """Wait until the task is settled; settle it as States.Timeout when its time or a heartbeat runs out."""
    begun = time.monotonic()
    task.heartbeat_at = begun
    longest, silence = state.get("TimeoutSeconds"), state.get("HeartbeatSeconds")
    while True:
        limits = [begun + longest] if longest else []
        limits += [task.heartbeat_at + silence] if silence else []
        left = min(limits) - time.monotonic() if limits else None
        if left is not None and left <= 0:
            task.settle(error=("States.Timeout", ""))
            return
        if task.event.wait(left):
            return


def _require_seconds(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0 or value != int(value):
        cause = f"The {name}Path parameter does not reference a positive integer value: {json.dumps(value)}"
        raise stepfunctions._ExecutionError("States.Runtime", cause)
