"""Tasks of state machines that fail on purpose where Step Functions calls the service. Runs in the cloud's server.

`tasks.json` in the state folder maps a state's name to {"error": name, "times": n, "after": bool, "seconds": s}: the
first n calls fail (all of them without `times`); with `after` the service did its work and only the answer is lost;
`seconds` pass first; without `error` that is all. Errors of Lambda as Step Functions names them:
https://docs.aws.amazon.com/step-functions/latest/dg/connect-lambda.html
"""

import time
from pathlib import Path
from typing import Any

from ministack.services import stepfunctions

from local import callbacks
from local.fault_file import FaultFile


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
        time.sleep(float(fault.get("seconds", 0)))
        if fault.get("after") or "error" not in fault:
            answer = self._invoke(resource, arguments)
            if "error" not in fault:
                return answer
        raise stepfunctions._ExecutionError(str(fault["error"]), "injected by tasks.json")

    def _fault(self, state: str) -> dict[str, Any] | None:
        fault: dict[str, Any] | None = self._faults.ordered().get(state)
        if fault is None:
            return None
        count = self._faults.count(state)
        if count > int(fault.get("times", count)):
            return None
        self._faults.note(state)
        return fault
