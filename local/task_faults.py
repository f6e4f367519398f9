"""Tasks of state machines that fail on purpose where Step Functions calls the service. Runs in the cloud's server.

`tasks.json` in the state folder maps a state's name to {"error": name, "times": n, "after": bool, "seconds": s} or to
{"error": name, "times": n, "late": s}: the first n calls fail (all of them without `times`); with `after` the service
did its work and only the answer is lost; `seconds` pass first; without `error` that is all; with `late` Step Functions
hears of the error at once, and the service gets to the call s seconds after it was made again. Errors of Lambda as Step
Functions names them: https://docs.aws.amazon.com/step-functions/latest/dg/connect-lambda.html
"""

import contextlib
import contextvars
import threading
import time
from pathlib import Path
from typing import Any

from ministack.services import stepfunctions

from local import callbacks
from local.fault_file import FaultFile

# A state that is not tried again for so long is not tried again at all.
RETRY_SECONDS = 60.0
POLL_SECONDS = 0.02


class TaskFaults:
    """Decides which tasks fail.

    Parameters
    ----------
    path : Path
        `tasks.json`; it is read at each call, so a test can change it at any time.
    """

    def __init__(self, path: Path) -> None:
        self._faults = FaultFile(path)
        self._invoke = stepfunctions._invoke_resource

    def install(self) -> None:
        """Stand between the interpreter and the services."""
        stepfunctions._invoke_resource = self.invoke

    def invoke(self, resource: str, arguments: Any) -> Any:
        """Carry out a state's integration, or fail it as told."""
        fault = self._fault(callbacks.state_name())
        if fault is None:
            return self._invoke(resource, arguments)
        if "late" in fault:
            self._call_later(float(fault["late"]), resource, arguments)
            raise stepfunctions._ExecutionError(str(fault["error"]), "injected by tasks.json")
        time.sleep(float(fault.get("seconds", 0)))
        if fault.get("after") or "error" not in fault:
            answer = self._invoke(resource, arguments)
            if "error" not in fault:
                return answer
        raise stepfunctions._ExecutionError(str(fault["error"]), "injected by tasks.json")

    def _call_later(self, seconds: float, resource: str, arguments: Any) -> None:
        state = callbacks.state_name()

        def call() -> None:
            gives_up_at = time.monotonic() + RETRY_SECONDS
            while self._faults.asked(state) < 2:
                if time.monotonic() > gives_up_at:
                    return
                time.sleep(POLL_SECONDS)
            time.sleep(seconds)
            self._faults.note(state)
            # What the service says, nobody hears.
            with contextlib.suppress(stepfunctions._ExecutionError):
                self._invoke(resource, arguments)

        # The account and region, and the state whose call it is, are in the context.
        threading.Thread(target=contextvars.copy_context().run, args=(call,), daemon=True).start()

    def _fault(self, state: str) -> dict[str, Any] | None:
        fault: dict[str, Any] | None = self._faults.ordered().get(state)
        if fault is None:
            return None
        count = self._faults.count(state)
        if count > int(fault.get("times", count)):
            return None
        if "late" not in fault:
            self._faults.note(state)
        return fault
