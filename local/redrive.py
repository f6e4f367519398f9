"""RedriveExecution, which MiniStack lacks: an execution goes on at the state it ended in. Runs in the cloud's server.

Follows https://docs.aws.amazon.com/step-functions/latest/dg/redrive-executions.html: the state is entered again with
the input it had, its timeout, its retries and the execution's own timeout begin anew, ARN, name and history stay, and
a Fail state fails again. Map and Parallel states begin anew as a whole, which on AWS only their failed parts do.
"""

import contextvars
import json
import threading
import time
from typing import Any

from ministack import app
from ministack.core import responses
from ministack.services import stepfunctions

from local.callbacks import Answer, Callbacks

ACTION = "RedriveExecution"
REDRIVABLE = ("FAILED", "ABORTED", "TIMED_OUT")
POLL_SECONDS = 0.05


class Redrive:
    """Answers RedriveExecution beside MiniStack's own actions.

    Parameters
    ----------
    callbacks : Callbacks
        The interpreter that runs executions.
    """

    def __init__(self, callbacks: Callbacks) -> None:
        self._callbacks = callbacks
        self._handle = app.SERVICE_HANDLERS["states"]

    def install(self) -> None:
        """Stand in front of MiniStack's Step Functions."""
        app.SERVICE_HANDLERS["states"] = self.handle

    async def handle(self, method: str, path: str, headers: dict[str, str], body: bytes, query: Any) -> Answer:
        """Answer one request."""
        if headers.get("x-amz-target", "").rpartition(".")[2] == ACTION:
            return self.redrive(json.loads(body or b"{}"))
        return await self._handle(method, path, headers, body, query)  # type: ignore[no-any-return]

    def redrive(self, request: Any) -> Answer:
        """Answer RedriveExecution."""
        arn = request.get("executionArn", "")
        execution = stepfunctions._executions.get(arn)
        if not execution:
            return _refuse("ExecutionDoesNotExist", f"Execution Does Not Exist: '{arn}'")
        if execution["status"] not in REDRIVABLE:
            return _refuse("ExecutionNotRedrivable", f"Execution is {execution['status']} and cannot be redriven")
        # Redriven twice at once is redriven once; the status follows when the last of the old attempt has ended.
        if execution.setdefault("redriving", False):
            return _refuse("ExecutionNotRedrivable", "Execution is RUNNING and cannot be redriven")
        execution["redriving"] = True
        context = contextvars.copy_context()
        threading.Thread(target=context.run, args=(self._begin, execution), daemon=True).start()
        date = time.time()
        return responses.json_response({"redriveDate": date})  # type: ignore[no-any-return]

    def _begin(self, execution: Any) -> None:
        arn = execution["executionArn"]
        # A task that was at work when the execution was stopped must not go on in the new attempt.
        while self._callbacks.running(arn):
            time.sleep(POLL_SECONDS)
        name, given = _unfinished(execution)
        execution["redriveCount"] = execution.get("redriveCount", 0) + 1
        execution.update({"status": "RUNNING", "stopDate": None, "output": None, "redriving": False})
        for field in ("error", "cause"):
            execution.pop(field, None)
        details = {"executionRedrivenEventDetails": {"redriveCount": execution["redriveCount"]}}
        stepfunctions._add_event(execution, "ExecutionRedriven", details)
        stepfunctions._emit_execution_status_event(execution)
        self._callbacks.run_execution(arn, lambda _: walk(execution, name, given))


def walk(execution: Any, name: str | None, data: Any) -> None:
    """Run an execution from a state to its end, with the events that MiniStack adds from the start."""
    machine = stepfunctions._state_machines[execution["stateMachineArn"]]
    definition = json.loads(machine["definition"])
    context = {
        "QueryLanguage": definition.get("QueryLanguage", "JSONPath"),
        "Execution": {
            "Id": execution["executionArn"],
            "Input": json.loads(execution["input"]),
            "Name": execution["name"],
            "StartTime": execution["startDate"],
            "RedriveCount": execution["redriveCount"],
        },
        "StateMachine": {"Id": execution["stateMachineArn"], "Name": machine["name"]},
        "variables": {},
    }
    try:
        while name and execution["status"] == "RUNNING":
            name, data = _step(execution, name, definition["States"][name], data, context)
        if execution["status"] == "RUNNING":
            _succeed(execution, json.dumps(data))
    except stepfunctions._ExecutionError as error:
        stepfunctions._fail_execution(execution, error.error, error.cause)


def _step(execution: Any, name: str, state: Any, data: Any, context: Any) -> tuple[str | None, Any]:
    kind = state["Type"]
    context["State"] = {"Name": name, "EnteredTime": responses.now_iso(), "RetryCount": 0}
    entered = {"stateEnteredEventDetails": {"name": name, "input": json.dumps(data)}}
    stepfunctions._add_event(execution, f"{kind}StateEntered", entered)
    if kind == "Fail":
        raise stepfunctions._ExecutionError(*stepfunctions._fail_state_error(state, data, context))
    following: str | None = None
    if kind == "Succeed":
        data = stepfunctions._apply_output_path(state, stepfunctions._apply_input_path(state, data, context), context)
    else:
        run = getattr(stepfunctions, f"_execute_{kind.lower()}")
        more = (execution, context) if kind in ("Task", "Parallel", "Map") else (context,)
        data, following = run(state, data, *more)
    exited = {"stateExitedEventDetails": {"name": name, "output": json.dumps(data)}}
    stepfunctions._add_event(execution, f"{kind}StateExited", exited)
    return following, data


def _succeed(execution: Any, output: str) -> None:
    execution.update({"status": "SUCCEEDED", "output": output, "stopDate": responses.now_iso()})
    stepfunctions._add_event(execution, "ExecutionSucceeded", {"executionSucceededEventDetails": {"output": output}})
    stepfunctions._emit_execution_status_event(execution)


def _unfinished(execution: Any) -> tuple[str, Any]:
    """Return the state that was entered last, and its input."""
    details = next(e["stateEnteredEventDetails"] for e in reversed(execution["events"]) if _entered(e))
    return str(details["name"]), json.loads(details["input"])


def _entered(event: Any) -> bool:
    return "stateEnteredEventDetails" in event


def _refuse(code: str, message: str) -> Answer:
    return responses.error_response_json(code, message, 400)  # type: ignore[no-any-return]
