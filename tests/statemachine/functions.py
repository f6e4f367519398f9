"""Calls functions as AWS does, and lets one of them die, or one of its calls fail, on the way. Runs under pytest."""

import importlib
import json
import threading
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import botocore.client
import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from tests.lambda_context import Context
from tests.statemachine.interpreter import StatesError

# Lambda tries an event twice more: https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
ASYNCHRONOUS_TRIES = 3
# What hears of an event that failed for good (infra/).
ON_FAILURE = {"SweepRun": "RearmSweep", "StartFromUpload": "NoteLostUpload"}
Ask = Callable[[], Any]
# What becomes of a call: it gets the operation's name and a function that makes the call.
Fault = Callable[[str, Ask], Any]
# Whether a call is meant: the function, the number of its call since `watch`, the operation.
Target = Callable[[str, int, str], bool]


class Killed(BaseException):
    """The process of a function died: no handler of exceptions runs, nothing is answered."""


def killed(operation: str, ask: Ask) -> Any:
    """Let the call happen, whatever its answer, and the process die before it reads that."""
    try:
        ask()
    except Exception as error:
        raise Killed(f"after {operation}, which failed") from error
    raise Killed(f"after {operation}")


def refused(operation: str, _ask: Ask) -> Any:
    """Refuse the call for want of a permission."""
    raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "refused by the test"}}, operation)


def throttled(operation: str, _ask: Ask) -> Any:
    """Throttle the call, and each of botocore's tries."""
    raise ClientError({"Error": {"Code": "ThrottlingException", "Message": "throttled by the test"}}, operation)


def broken(operation: str, _ask: Ask) -> Any:
    """Answer the call, and each of botocore's tries, with a server error."""
    raise ClientError({"Error": {"Code": "InternalFailure", "Message": "broken by the test"}}, operation)


def answer_lost(operation: str, ask: Ask) -> Any:
    """Let the call happen and lose its answer, and those of botocore's further tries."""
    ask()
    raise ReadTimeoutError(endpoint_url=f"https://{operation.lower()}.test")


class ErrorNamed(Exception):
    """Step Functions hears of an invocation's end under this name, whatever the function did."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name}, said by the test")
        self.name = name


class Functions:
    """The functions of the stack, and the calls that each of them has made since `watch`."""

    def __init__(self, package: str = "lambdas") -> None:
        self.package = package
        self.calls: dict[str, list[str]] = defaultdict(list)
        self.met = ""
        # Set whenever Step Functions has heard of the end of an invocation.
        self.returned = threading.Event()
        self.script: Callable[[str, Any, Ask], Any] = _as_it_is
        # Functions whose every process dies at its first call.
        self.dead: set[str] = set()
        self._target: Target = lambda *_: False
        self._fault: Fault = killed
        self._once = True
        self._error_name = "Lambda.Unknown"
        self._current = threading.local()
        # What EC2 was asked and answered by client token.
        self.launches: dict[str, tuple[Any, Any]] = {}
        self._lock = threading.Lock()

    def watch(self) -> None:
        """Count calls anew, and disturb none."""
        self.calls.clear()
        self.met, self._target = "", lambda *_: False

    def kill(self, function: str, number: int, error_name: str) -> None:
        """Let a function die once, after its `number`-th call from now on, counted over its invocations."""
        self.disturb(killed, lambda name, count, _: name == function and count == number)
        self._error_name = error_name

    def disturb(self, fault: Fault, target: Target, once: bool = True) -> None:
        """Let `fault` befall the calls for which `target` (function, number of the call, operation) is true."""
        self.watch()
        self._fault, self._target, self._once = fault, target, once

    def handler(self, name: str) -> Any:
        """Return the handler of a function."""
        module = "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")
        return importlib.import_module(f"{self.package}.{module}").handler

    def exists(self, name: str) -> bool:
        """Return whether this release has a function of that name."""
        try:
            return bool(self.handler(name))
        except ModuleNotFoundError:
            return False

    def run(self, name: str, event: Any) -> Any:
        """Call a handler; what it raises, `Killed` too, comes through."""
        outer = getattr(self._current, "name", ""), getattr(self._current, "dead", False)
        self._current.name, self._current.dead = name, False
        try:
            return self.handler(name)(event, Context(function_name=name))
        finally:
            self._current.name, self._current.dead = outer

    def invoke(self, name: str, payload: bytes | str) -> dict[str, Any]:
        """Call a function for Step Functions, as `script` says: an exception is a function error with its class name.

        A TimeoutError of the script is the state's States.Timeout; other names of Step Functions are StatesErrors.
        """
        event = json.loads(payload)
        try:
            return {"Payload": self.script(name, event, lambda: self.run(name, event))}
        except ErrorNamed as error:
            return _failed(error.name, str(error))
        except Killed as error:
            return _failed(self._error_name, f"RequestId: 1 Error: Runtime exited with error: signal: killed ({error})")
        except (TimeoutError, StatesError):
            raise
        except Exception as error:
            return _failed(type(error).__name__, str(error))
        finally:
            self.returned.set()

    def deliver(self, name: str, event: Any) -> bool:
        """Call a function with an event, asynchronously as events do; returns whether one of its tries succeeded."""
        for _ in range(ASYNCHRONOUS_TRIES):
            try:
                self.run(name, event)
            except (Killed, Exception) as error:
                problem = f"{type(error).__name__}: {error}"
            else:
                return True
        heard = ON_FAILURE.get(name)
        if heard and self.exists(heard):
            self.deliver(heard, {
                "version": "1.0",
                "requestContext": {"condition": "RetriesExhausted", "approximateInvokeCount": ASYNCHRONOUS_TRIES},
                "requestPayload": event,
                "responsePayload": {"errorMessage": problem},
            })  # fmt: skip
        return False

    def around(self, operation: str, arguments: Any, ask: Ask) -> Any:
        """Make a call of a function, or let the fault befall it; what others call passes."""
        if operation == "RunInstances":
            ask = self._idempotent(arguments, ask)
        name = getattr(self._current, "name", "")
        if not name:
            return ask()
        if self._current.dead or name in self.dead:
            raise Killed(f"before {operation}")
        self.calls[name].append(operation)
        if (self.met and self._once) or not self._target(name, len(self.calls[name]), operation):
            return ask()
        self.met = operation
        try:
            return self._fault(operation, ask)
        except Killed:
            self._current.dead = True
            raise

    def _idempotent(self, arguments: Any, ask: Ask) -> Ask:
        """Return a call that gives the instance of its client token; moto knows no tokens."""

        def asked() -> Any:
            with self._lock:
                given, answer = self.launches.get(arguments["ClientToken"], (arguments, None))
                if given != arguments:
                    raise ClientError({"Error": {"Code": "IdempotentParameterMismatch", "Message": ""}}, "RunInstances")
                answer = answer or ask()
                self.launches[arguments["ClientToken"]] = (arguments, answer)
                return answer

        return asked

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """See every AWS call, and let the work of thread pools be done in order, by the thread that gives it."""
        call, submit = botocore.client.BaseClient._make_api_call, ThreadPoolExecutor.submit

        def watched(client: Any, operation: str, arguments: Any) -> Any:
            return self.around(operation, arguments, lambda: call(client, operation, arguments))

        def at_once(pool: Any, work: Any, /, *given: Any, **named: Any) -> Any:
            if not getattr(self._current, "name", ""):
                return submit(pool, work, *given, **named)
            done: Future[Any] = Future()
            try:
                done.set_result(work(*given, **named))
            except Exception as error:
                done.set_exception(error)
            return done

        patch.setattr(botocore.client.BaseClient, "_make_api_call", watched)
        patch.setattr(ThreadPoolExecutor, "submit", at_once)


def _as_it_is(_name: str, _event: Any, go: Ask) -> Any:
    return go()


def _failed(error_type: str, message: str) -> dict[str, Any]:
    described = {"errorType": error_type, "errorMessage": message, "stackTrace": []}
    return {"FunctionError": "Unhandled", "Payload": described}
