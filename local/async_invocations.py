"""Asynchronous invocations as AWS makes them: two more tries, then the destination. Runs in the cloud's server.

Follows https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html (an error is tried again after
one and after two minutes) and invocation-async-retain-records.html (the document of a destination). The functions of
custom resources are called so, too. MiniStack's EventBridge and CloudFormation try once, its other sources again
after seconds, and its document lacks fields. Minutes are as long as those of Step Functions (SFN_WAIT_SCALE).
"""

import contextvars
import json
import logging
import threading
import time
import uuid
from collections import Counter
from datetime import UTC, datetime
from typing import Any

from ministack.services import eventbridge, lambda_svc, stepfunctions
from ministack.services.cloudformation import custom_resource

from local.function_faults import FunctionFaults, called

PAUSES_SECONDS = (60.0, 120.0)
# A call that no environment was free for is tried for as long as the event lives, more and more rarely.
THROTTLED_SECONDS, LONGEST_SECONDS = 1.0, 300.0
EVENT_AGE_SECONDS = 21_600
LATEST = "$LATEST"
_EXECUTE = lambda_svc._execute_function_with_config_scope
# Set where MiniStack's CloudFormation calls a function.
_CUSTOM_RESOURCE: contextvars.ContextVar[bool] = contextvars.ContextVar("custom_resource", default=False)
logger = logging.getLogger("chronos.async_invocations")


class AsyncInvocations:
    """Carries out the asynchronous invocations of one cloud.

    Parameters
    ----------
    faults : FunctionFaults
        Says which first invocation comes late.
    """

    def __init__(self, faults: FunctionFaults) -> None:
        self._faults = faults
        self._lock = threading.Lock()
        self._pending: Counter[str] = Counter()
        self._call_custom_resource = custom_resource.invoke_custom_resource

    def install(self) -> None:
        """Take asynchronous invocations over: by rules, schedules, custom resources, and those of type Event."""
        lambda_svc.invoke_async_with_retry = self.begin
        eventbridge._dispatch_to_lambda = self.dispatch
        custom_resource.invoke_custom_resource = self.invoke_custom_resource
        lambda_svc._execute_function_with_config_scope = self.execute

    def pending(self) -> list[str]:
        """Return the functions whose events are under way or wait for another try."""
        with self._lock:
            return sorted(self._pending.elements())

    def dispatch(self, arn: str, payload: str) -> None:
        """Deliver an event of a rule or schedule."""
        if function := _current(arn):
            self.begin(function, json.loads(payload))

    def invoke_custom_resource(self, *arguments: Any, **fields: Any) -> Any:
        """Call a custom resource's function, and wait for what it tells CloudFormation."""
        token = _CUSTOM_RESOURCE.set(True)
        try:
            return self._call_custom_resource(*arguments, **fields)
        finally:
            _CUSTOM_RESOURCE.reset(token)

    def execute(self, function: Any, event: Any) -> Any:
        """Carry out what MiniStack calls a function for; a custom resource's call goes its own way."""
        if not _CUSTOM_RESOURCE.get():
            return _EXECUTE(function, event)
        self.begin(function, event)
        return {}

    def begin(self, function: Any, event: Any) -> None:
        """Invoke a function asynchronously; returns at once."""
        arn = str((function.get("config") or function)["FunctionArn"])
        with self._lock:
            self._pending[called(function)] += 1
        self._apart(self._carry_out, called(function), arn, event)

    def _carry_out(self, name: str, arn: str, event: Any) -> None:
        try:
            self._try(arn, event)
        finally:
            with self._lock:
                self._pending[name] -= 1

    def _try(self, arn: str, event: Any) -> None:
        tries, throttled, waited, again = 0, 0, 0.0, threading.Event()
        while function := _current(arn):
            settings = _settings(function)
            answer = self._invoke(function, arn, event, again) if tries == 0 else _invoke(function, event)
            if answer.get("throttle"):
                throttled += 1
                pause = min(THROTTLED_SECONDS * 2 ** (throttled - 1), LONGEST_SECONDS)
            elif not answer.get("error"):
                return
            elif (tries := tries + 1) > settings["MaximumRetryAttempts"]:
                self._give_up(function, event, answer, "RetriesExhausted", tries)
                return
            else:
                pause = PAUSES_SECONDS[tries - 1]
            if (waited := waited + pause) > settings["MaximumEventAgeInSeconds"]:
                self._give_up(function, event, answer, "EventAgeExceeded", tries)
                return
            time.sleep(pause * stepfunctions._SFN_WAIT_SCALE)
            again.set()

    def _invoke(self, function: Any, arn: str, event: Any, again: threading.Event) -> Any:
        """Invoke for the first time: now, or, by a fault, some time after the repetition."""
        late = self._faults.late_seconds(function)
        if late is None:
            return _invoke(function, event)
        name = called(function)
        with self._lock:
            self._pending[name] += 1
        self._apart(self._late, name, arn, event, late, again)
        return {"error": True, "body": {"errorType": "Lambda.Unknown", "errorMessage": "given up, and runs later"}}

    def _late(self, name: str, arn: str, event: Any, seconds: float, again: threading.Event) -> None:
        try:
            again.wait()
            time.sleep(seconds)
            if function := _current(arn):
                self._faults.came_late(function)
                _invoke(function, event)
        finally:
            with self._lock:
                self._pending[name] -= 1

    def _give_up(self, function: Any, event: Any, answer: Any, condition: str, tries: int) -> None:
        target = _destination(function)
        logger.warning("%s: %s after %s tries, destination %s", called(function), condition, tries, target or "none")
        if ":lambda:" not in target:
            if target:
                lambda_svc._route_async_failure(target, function["config"]["FunctionName"], event, answer)
        elif destination := _current(target):
            self.begin(destination, document(function, event, answer, condition, tries))

    @staticmethod
    def _apart(work: Any, *arguments: Any) -> None:
        # Account and region are in the context.
        context = contextvars.copy_context()
        threading.Thread(target=context.run, args=(work, *arguments), daemon=True).start()


def document(function: Any, event: Any, answer: Any, condition: str, tries: int) -> dict[str, Any]:
    """Return what a destination gets of an event that was given up."""
    version = function["config"].get("Version", LATEST)
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
    return {
        "version": "1.0",
        "timestamp": now,
        "requestContext": {
            "requestId": str(uuid.uuid4()),
            "functionArn": f"{function['config']['FunctionArn']}:{version}",
            "condition": condition,
            "approximateInvokeCount": tries,
        },
        "requestPayload": event,
        "responseContext": {"statusCode": 200, "executedVersion": version, "functionError": "Unhandled"},
        "responsePayload": answer.get("body"),
    }


def _current(arn: str) -> Any:
    """Return a function as it is now, which may be newer than at the last try; None when it is gone."""
    function, configuration, name = lambda_svc._get_func_record_for_ref(arn)
    if not function or not configuration:
        logger.warning("%s: the function is gone, its event is dropped", name)
        return None
    return lambda_svc._execution_record_for_config(function, configuration)


def _invoke(function: Any, event: Any) -> Any:
    return _EXECUTE(function, event)


def _settings(function: Any) -> dict[str, int]:
    chosen = _event_invoke_config(function)
    default = {"MaximumRetryAttempts": len(PAUSES_SECONDS), "MaximumEventAgeInSeconds": EVENT_AGE_SECONDS}
    return {name: int(chosen.get(name, value)) for name, value in default.items()}


def _destination(function: Any) -> str:
    on_failure = (_event_invoke_config(function).get("DestinationConfig") or {}).get("OnFailure") or {}
    return str(on_failure.get("Destination") or (function["config"].get("DeadLetterConfig") or {}).get("TargetArn", ""))


def _event_invoke_config(function: Any) -> dict[str, Any]:
    return function.get("event_invoke_config") or (function.get("event_invoke_configs") or {}).get(LATEST) or {}
