"""Step Functions tasks and timeouts as AWS runs them, put over MiniStack's interpreter. Runs in the cloud's server.

Follows https://docs.aws.amazon.com/step-functions/latest/dg/connect-to-resource.html (callback tasks),
concepts-error-handling.html and API_SendTaskSuccess. A missed heartbeat is reported as States.Timeout, as the histories
recorded on AWS show (localstack/localstack, tests/aws/services/stepfunctions/v2/timeouts), not as the guide says.
"""

import contextvars
import json
import logging
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from ministack.core import responses
from ministack.services import stepfunctions

from local.waiting_tasks import Waiting, resolve_timeouts, wait_for

Answer = tuple[int, dict[str, str], bytes]
TERMINAL_EVENTS = frozenset({"ExecutionSucceeded", "ExecutionFailed", "ExecutionAborted", "ExecutionTimedOut"})
UNCATCHABLE = frozenset({"States.Runtime"})
CAUGHT_BY_NAME_ONLY = frozenset({"States.DataLimitExceeded"})
CALLED_ON = (
    "_run_execution", "_run_sub_machine", "_execute_task", "_start_execution", "_stop_execution", "_fail_execution",
    "_add_event", "_error_matches", "_send_task_success", "_send_task_failure", "_send_task_heartbeat",
)  # fmt: skip
logger = logging.getLogger("chronos.callbacks")


class ExecutionEnded(BaseException):
    """The execution was stopped or timed out: its thread unwinds past every Retry and Catch."""


@dataclass
class Run:
    """One execution while its thread runs."""

    execution: Any
    ended: threading.Event = field(default_factory=threading.Event)
    tasks: list[Waiting] = field(default_factory=list)


_RUN: ContextVar[Run | None] = ContextVar("run", default=None)
# The context object of the task a thread is in; its own, so that parallel branches do not share a token.
_CONTEXT: ContextVar[dict[str, Any] | None] = ContextVar("context", default=None)


class Callbacks:
    """The corrected interpreter of one server process."""

    def __init__(self) -> None:
        self._tasks: dict[str, Waiting] = {}
        self._runs: dict[str, Run] = {}
        self._original = {name: getattr(stepfunctions, name) for name in CALLED_ON}

    def install(self) -> None:
        """Put the corrections in place."""
        stepfunctions._run_execution = self.run_execution
        stepfunctions._execute_task = self.execute_task
        stepfunctions._run_sub_machine = self.run_sub_machine
        stepfunctions._invoke_with_callback = self.invoke_with_callback
        stepfunctions._start_execution = self.start_execution
        stepfunctions._stop_execution = self.stop_execution
        stepfunctions._fail_execution = self.fail_execution
        stepfunctions._add_event = self.add_event
        stepfunctions._error_matches = self.error_matches
        stepfunctions._scaled_sleep = scaled_sleep
        stepfunctions._send_task_success = self.send_task_success
        stepfunctions._send_task_failure = self.send_task_failure
        stepfunctions._send_task_heartbeat = self.send_task_heartbeat

    def running(self, arn: str) -> bool:
        """Return whether a thread still runs an execution, be it one that was stopped."""
        return arn in self._runs

    def run_execution(self, arn: str, walk: Callable[[str], None] | None = None) -> None:
        """Run an execution to its end, within the state machine's own TimeoutSeconds; `walk` runs it from elsewhere."""
        execution = stepfunctions._executions.get(arn)
        if not execution:
            return
        run = Run(execution)
        self._runs[arn] = run
        _RUN.set(run)
        timer = self._watch(run)
        try:
            (walk or self._original["_run_execution"])(arn)
        except ExecutionEnded:
            logger.info("%s ended as %s while it waited", arn, execution["status"])
        finally:
            timer.cancel()
            self._release(run)
            self._runs.pop(arn, None)

    def execute_task(self, state: Any, raw_input: Any, execution: Any, context: Any) -> Any:
        """Run a Task state with its timeouts resolved from paths, and with a context object of its own."""
        _leave_if_ended()
        own = {**context, "State": dict(context["State"])}
        own.pop("Task", None)
        token = _CONTEXT.set(own)
        try:
            return self._original["_execute_task"](resolve_timeouts(state, raw_input, own), raw_input, execution, own)
        finally:
            _CONTEXT.reset(token)

    def run_sub_machine(self, *arguments: Any) -> Any:
        """Run a branch of a Parallel or Map state; its result does not matter once the execution ended."""
        try:
            return self._original["_run_sub_machine"](*arguments)
        except ExecutionEnded:
            return None

    def state_machine_of(self, token: str) -> str:
        """Return the ARN of the state machine whose execution a token belongs to, "" when it is not known."""
        task = self._tasks.get(token)
        return task.arn.replace(":execution:", ":stateMachine:").rpartition(":")[0] if task else ""

    def invoke_with_callback(self, resource: str, arguments: Any, token: str, state: Any) -> Any:
        """Call the integration, then wait for its token: settlement, timeout, missed heartbeat or the end."""
        run, own = _RUN.get(), _CONTEXT.get()
        if run is None or own is None:
            raise RuntimeError("a callback task runs inside an execution")
        task = Waiting(run.execution["executionArn"])
        self._tasks[token] = task
        run.tasks.append(task)
        # Every retry is a new task with a new token; the interpreter reads it from here when it tries again.
        own["Task"] = {"Token": responses.new_uuid()}
        context = contextvars.copy_context()
        threading.Thread(target=context.run, args=(_submit, run, task, resource, arguments), daemon=True).start()
        wait_for(task, state)
        _leave_if_ended()
        if task.error:
            raise stepfunctions._ExecutionError(*task.error)
        return json.loads(task.output or "{}")

    def start_execution(self, request: Any) -> Answer:
        """Answer StartExecution; the same name and input while it runs is the running execution."""
        machine = stepfunctions._resolve_state_machine_arn(request.get("stateMachineArn", "").partition("#")[0])
        for arn, execution in list(stepfunctions._executions.items()):
            same = execution["stateMachineArn"] == machine and execution["name"] == request.get("name")
            if same and execution["status"] == "RUNNING" and execution["input"] == request.get("input", "{}"):
                return _json({"executionArn": arn, "startDate": execution["startDate"]})
        return self._original["_start_execution"](request)  # type: ignore[no-any-return]

    def stop_execution(self, request: Any) -> Answer:
        """Answer StopExecution, and wake what the execution waits for: its tokens are worth nothing from here on."""
        answer: Answer = self._original["_stop_execution"](request)
        run = self._runs.get(request.get("executionArn", ""))
        if run and run.execution["status"] != "RUNNING":
            self._release(run)
        return answer

    def fail_execution(self, execution: Any, error: str, cause: str) -> None:
        """Fail an execution, unless it already ended another way."""
        if execution["status"] == "RUNNING":
            self._original["_fail_execution"](execution, error, cause)
            # AWS describes a failed execution by its error and cause only.
            execution["output"] = None

    def add_event(self, execution: Any, kind: str, details: Any = None) -> Any:
        """Add a history event; none follows an execution's end, and a task that timed out says so."""
        if execution["status"] != "RUNNING" and kind not in TERMINAL_EVENTS:
            return None
        failed = (details or {}).get("taskFailedEventDetails", {})
        if kind == "TaskFailed" and failed.get("error") == "States.Timeout":
            kind, details = "TaskTimedOut", {"taskTimedOutEventDetails": {"resourceType": "states", **failed}}
        return self._original["_add_event"](execution, kind, details)

    def error_matches(self, names: list[str], error: str) -> bool:
        """Return whether a Retry or Catch matches; States.Runtime ends the execution whatever they say."""
        if error in UNCATCHABLE:
            return False
        if error in CAUGHT_BY_NAME_ONLY:
            return error in names
        return bool(self._original["_error_matches"](names, error))

    def send_task_success(self, request: Any) -> Answer:
        """Answer SendTaskSuccess."""
        output = request.get("output", "")
        try:
            json.loads(output)
        except ValueError:
            return _refuse("InvalidOutput", "Invalid Output: 'The output must be JSON'")
        return self._settle("_send_task_success", request, lambda task: task.settle(output=output))

    def send_task_failure(self, request: Any) -> Answer:
        """Answer SendTaskFailure."""
        error = (request.get("error") or "States.TaskFailed", request.get("cause") or "")
        return self._settle("_send_task_failure", request, lambda task: task.settle(error=error))

    def send_task_heartbeat(self, request: Any) -> Answer:
        """Answer SendTaskHeartbeat."""
        return self._settle("_send_task_heartbeat", request, _beat)

    def _settle(self, original: str, request: Any, act: Callable[[Waiting], bool]) -> Answer:
        token = request.get("taskToken", "")
        task = self._tasks.get(token)
        if task is None:
            # Activities keep MiniStack's own tokens.
            known = token in stepfunctions._task_tokens
            return self._original[original](request) if known else _unknown_token(token)
        if not act(task):
            return _refuse("TaskTimedOut", "Task Timed Out: 'Provided task does not exist anymore'")
        return _json({})

    def _watch(self, run: Run) -> threading.Timer:
        machine = stepfunctions._state_machines.get(run.execution["stateMachineArn"]) or {}
        seconds = json.loads(machine.get("definition") or "{}").get("TimeoutSeconds", threading.TIMEOUT_MAX)
        context = contextvars.copy_context()
        timer = threading.Timer(float(seconds), context.run, (self._time_out, run))
        timer.daemon = True
        timer.start()
        return timer

    def _time_out(self, run: Run) -> None:
        execution = run.execution
        if execution["status"] != "RUNNING":
            return
        execution.update({"status": "TIMED_OUT", "stopDate": responses.now_iso(), "error": "States.Timeout"})
        self.add_event(execution, "ExecutionTimedOut", {"executionTimedOutEventDetails": {}})
        stepfunctions._emit_execution_status_event(execution)
        self._release(run)

    def _release(self, run: Run) -> None:
        run.ended.set()
        for task in run.tasks:
            task.settle()


def state_name() -> str:
    """Return the name of the state whose task this thread carries out, "" outside of one."""
    return str((_CONTEXT.get() or {}).get("State", {}).get("Name", ""))


def scaled_sleep(seconds: float) -> None:
    """Sleep in a Wait state or before a retry, and wake at once when the execution ends."""
    run, scaled = _RUN.get(), seconds * stepfunctions._SFN_WAIT_SCALE
    if run is None:
        time.sleep(scaled)
    elif run.ended.wait(scaled):
        raise ExecutionEnded


def _submit(run: Run, task: Waiting, resource: str, arguments: Any) -> None:
    try:
        stepfunctions._add_event(run.execution, "TaskStarted", _about("taskStarted", resource))
        stepfunctions._invoke_resource(resource.replace(".waitForTaskToken", ""), arguments)
        if not task.settled:
            stepfunctions._add_event(run.execution, "TaskSubmitted", _about("taskSubmitted", resource))
    except stepfunctions._ExecutionError as error:
        task.settle(error=(error.error, error.cause))
    except Exception as error:
        logger.exception("a callback task could not be started")
        task.settle(error=("States.Runtime", str(error)))


def _about(event: str, resource: str) -> dict[str, Any]:
    kind = "lambda" if "lambda" in resource else "states"
    return {f"{event}EventDetails": {"resourceType": kind, "resource": resource}}


def _beat(task: Waiting) -> bool:
    with task.lock:
        task.heartbeat_at = time.monotonic()
        return not task.settled


def _leave_if_ended() -> None:
    run = _RUN.get()
    if run and run.ended.is_set():
        raise ExecutionEnded


def _unknown_token(token: str) -> Answer:
    if len(token) == len(responses.new_uuid()) and token.count("-") == 4:
        return _refuse("TaskDoesNotExist", "Task does not exist")
    return _refuse("InvalidToken", "Invalid Token: 'Invalid token'")


def _json(content: dict[str, Any]) -> Answer:
    return responses.json_response(content)  # type: ignore[no-any-return]


def _refuse(code: str, message: str) -> Answer:
    return responses.error_response_json(code, message, 400)  # type: ignore[no-any-return]
