"""What befalls functions on purpose: their process ends, or pauses, at a certain call. Runs in the cloud's server.

`functions.json` in the state folder maps the name by which a function calls itself (AWS_SDK_UA_APP_ID) to

- {"after": k, "as": name, "times": n}: the process ends after its k-th AWS call of an invocation (k = 0: before its
  first), for the first n invocations that come so far. Step Functions hears `name` (default Runtime.ExitError):
  https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html (failures during the invoke phase);
- {"after": k, "pause": s, "times": n}: the process stands still for s seconds there, and goes on;
- both with "call": "ec2:DescribeVolumes" for the k-th call of that operation alone;
- {"late": s, "times": n}: of an asynchronous event, the first invocation is given up at once and runs s seconds after
  its repetition began, see `local.async_invocations`.

With "*" mapped to {"log": true} every AWS call of every function is noted in `functions.calls`, a line each: the
function's name, the invocation's request id, service and operation.
"""

import threading
from collections import Counter
from pathlib import Path
from typing import Any

from ministack.core import lambda_runtime
from ministack.services import lambda_svc

from local.fault_file import FaultFile

DIED = "Worker process died"
EXIT_ERROR = "Runtime.ExitError"
MARK = "__fault"
# Where the worker takes an invocation's event from its envelope.
TAKES = '        event = _ms_msg["event"]\n'
CALLS = ".calls"
TAKES_FAULT = '        event = _without_fault(_ms_msg["event"])\n'
COUNTING = '''
_fault = {}

def _without_fault(message):
    """Take the fault of this invocation off its event."""
    global _fault
    if not isinstance(message, dict) or "__fault" not in message:
        _fault = {}
        return message
    _fault = {**message["__fault"], "calls": 0}
    _count_calls()
    if _fault.get("after") == 0:
        _act()
    return message["event"]

def _called(operation):
    if "log" in _fault:
        _add(_fault["log"], [_fault["name"], _fault["invocation"], operation])
    if "after" not in _fault or _fault.get("call", operation) != operation:
        return
    _fault["calls"] += 1
    if _fault["calls"] == _fault["after"]:
        _act()

def _act():
    import os, time
    if "pause" not in _fault:
        os._exit(137)
    _add(_fault["notes"], [_fault["name"]])
    time.sleep(_fault["pause"])

def _add(path, words):
    with open(path, "a") as lines:
        print(*words, file=lines)

def _count_calls():
    from botocore.client import BaseClient
    make = BaseClient._make_api_call
    if hasattr(make, "counts"):
        return
    def call(self, operation, arguments):
        try:
            return make(self, operation, arguments)
        finally:
            _called(self.meta.service_model.service_name + ":" + operation)
    call.counts = True
    BaseClient._make_api_call = call
'''


class FunctionFaults:
    """Decides which invocations a fault befalls.

    Parameters
    ----------
    path : Path
        `functions.json`; it is read at each invocation, so a test can change it at any time.
    """

    def __init__(self, path: Path) -> None:
        self._faults = FaultFile(path)
        self._execute = lambda_svc._execute_function_warm
        self._lock = threading.Lock()
        self._armed: Counter[str] = Counter()

    def install(self) -> None:
        """Put the faults in place; after `LambdaErrors`, whose answers are seen here.

        Raises
        ------
        RuntimeError
            When MiniStack's worker script is not the one this was written for.
        """
        script = lambda_runtime._PYTHON_WORKER_SCRIPT
        if script.count(TAKES) != 1:
            raise RuntimeError("MiniStack's Python worker: expected one place that takes the event. Review this piece.")
        lambda_runtime._PYTHON_WORKER_SCRIPT = COUNTING + script.replace(TAKES, TAKES_FAULT)
        lambda_svc._execute_function_warm = self.execute

    def execute(self, function: Any, event: Any, request_id: str) -> Any:
        """Run a function with the fault that is ordered for it, if one is left."""
        name = called(function)
        fault = self._arm(name)
        told = {**(fault or {}), **self._log(request_id)}
        given = {MARK: {**told, "name": name, "notes": str(self._faults.notes)}, "event": event} if told else event
        answer: Any = {}
        try:
            answer = self._execute(function, given, request_id)
        finally:
            if fault is not None:
                self._disarm(name, met=died(answer) and "pause" not in fault)
        if died(answer):
            answer["body"] = _ended(request_id, (fault or {}).get("as", EXIT_ERROR))
        return answer

    def late_seconds(self, function: Any) -> float | None:
        """Return how long after it was given up an asynchronous event's first invocation runs, None for no fault."""
        name = called(function)
        fault = self._faults.ordered().get(name, {})
        if "late" not in fault or self._faults.count(name) > int(fault.get("times", 1)):
            return None
        return float(fault["late"])

    def came_late(self, function: Any) -> None:
        """Note that an invocation ran after its repetition."""
        self._faults.note(called(function))

    def _arm(self, name: str) -> dict[str, Any] | None:
        # One that never gets to its call must not use the fault up.
        with self._lock:
            fault: dict[str, Any] | None = self._faults.ordered().get(name)
            if fault is None or "after" not in fault:
                return None
            used = self._armed[name] + self._faults.met().count(name)
            if used >= int(fault.get("times", used + 1)):
                return None
            self._armed[name] += 1
            return fault

    def _disarm(self, name: str, met: bool) -> None:
        with self._lock:
            self._armed[name] -= 1
            if met:
                self._faults.note(name)

    def _log(self, request_id: str) -> dict[str, str]:
        if not self._faults.ordered().get("*", {}).get("log"):
            return {}
        return {"log": str(self._faults.notes.with_suffix(CALLS)), "invocation": request_id}


def called(function: Any) -> str:
    """Return the name by which a function calls itself, its own name when it has none."""
    configuration = function.get("config") or function
    variables = (configuration.get("Environment") or {}).get("Variables") or {}
    return str(variables.get("AWS_SDK_UA_APP_ID") or configuration.get("FunctionName", ""))


def died(answer: Any) -> bool:
    """Return whether an invocation ended with its process."""
    body = answer.get("body")
    return bool(answer.get("error")) and isinstance(body, dict) and body.get("errorMessage") == DIED


def _ended(request_id: str, name: str) -> dict[str, str]:
    message = f"RequestId: {request_id} Error: Runtime exited with error: signal: killed"
    return {"errorType": name, "errorMessage": message}
