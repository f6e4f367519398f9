"""moto's Step Functions interpreter, corrected where AWS does otherwise, and hurried. Runs under pytest, offline."""

import time
from datetime import datetime
from functools import lru_cache
from typing import Any

import pytest
from moto.s3 import urls
from moto.s3.models import S3Backend
from moto.stepfunctions.parser.api import ExecutionStatus, HistoryEventType, TaskFailedEventDetails
from moto.stepfunctions.parser.asl.component.common.error_name.error_equals_decl import ErrorEqualsDecl
from moto.stepfunctions.parser.asl.component.common.error_name.failure_event import FailureEvent
from moto.stepfunctions.parser.asl.component.common.error_name.states_error_name import StatesErrorName
from moto.stepfunctions.parser.asl.component.common.error_name.states_error_name_type import StatesErrorNameType
from moto.stepfunctions.parser.asl.component.state import state
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service.state_task_service_lambda import (
    StateTaskServiceLambda,
)
from moto.stepfunctions.parser.asl.eval.callback.callback import CallbackEndpoint
from moto.stepfunctions.parser.asl.eval.environment import Environment
from moto.stepfunctions.parser.asl.eval.event.event_detail import EventDetails
from moto.stepfunctions.parser.asl.eval.program_state import ProgramStopped
from moto.stepfunctions.parser.asl.parse.asl_parser import AmazonStateLanguageParser
from moto.stepfunctions.parser.backend.execution import Execution

# No retrier and no catcher takes the first, and only one that names it the second, States.ALL neither:
# https://docs.aws.amazon.com/step-functions/latest/dg/concepts-error-handling.html
RUNTIME = StatesErrorName(typ=StatesErrorNameType.StatesRuntime)
TOO_MUCH_DATA = StatesErrorName(typ=StatesErrorNameType.StatesStatesDataLimitExceeded)
TIMEOUT = StatesErrorName(typ=StatesErrorNameType.StatesTimeout)
LONGEST_PAUSE_SECONDS = 0.05

_matches = ErrorEqualsDecl._eval_body
_stop = Execution.stop
_set_error = Environment.set_error
_from_error = StateTaskServiceLambda._from_error
_setup = CallbackEndpoint.setup_heartbeat_endpoint
_sleep = time.sleep
_StateData = state.StateData
_parse = AmazonStateLanguageParser.parse


class StatesError(Exception):
    """A task ends with an error that Step Functions itself names, such as States.HeartbeatTimeout."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name}, said by the test")
        self.name = StatesErrorName(typ=StatesErrorNameType.from_name(name))


def correct(patch: pytest.MonkeyPatch) -> None:
    """Let moto treat errors, stops and times as AWS does."""
    patch.setattr(ErrorEqualsDecl, "_eval_body", _as_aws_matches)
    patch.setattr(Execution, "stop", _at_once)
    patch.setattr(Environment, "set_error", _unless_stopped)
    patch.setattr(CallbackEndpoint, "setup_heartbeat_endpoint", _heard_already)
    patch.setattr(state, "StateData", _entered)
    patch.setattr(StateTaskServiceLambda, "_from_error", _named)
    patch.setattr(AmazonStateLanguageParser, "parse", staticmethod(_parsed_once))


def hurry(patch: pytest.MonkeyPatch) -> None:
    """Let every pause, of a retrier or of a function, pass in an instant; time limits stay as they are."""
    # moto loads this module anew for every call of S3.
    patch.setattr(S3Backend, "_url_module", urls)
    patch.setattr("time.sleep", lambda seconds: _sleep(min(seconds, LONGEST_PAUSE_SECONDS)))


def _as_aws_matches(self: ErrorEqualsDecl, env: Any) -> None:
    name = env.stack[-1]
    if name == RUNTIME:
        env.stack[-1] = False
    elif name == TOO_MUCH_DATA:
        env.stack[-1] = name in self.error_names
    elif ErrorEqualsDecl._STATE_TASK_ERROR in self.error_names and isinstance(name, StatesErrorName):
        # "States.TaskFailed acts as a wildcard that matches any known error name except for States.Timeout."
        env.stack[-1] = name != TIMEOUT or TIMEOUT in self.error_names
    else:
        _matches(self, env)


def _at_once(self: Execution, stop_date: Any, error: str | None, cause: str | None) -> None:
    """End an execution when it is stopped: moto lets the task that waits wait on, and then end as it does."""
    if self.exec_status != ExecutionStatus.RUNNING:
        return
    _stop(self, stop_date, error, cause)
    self.exec_status, self.stop_date = ExecutionStatus.ABORTED, stop_date
    for waiting in list(self.exec_worker.env.callback_pool_manager._pool.values()):
        waiting.interrupt_all()


def _unless_stopped(self: Environment, error: Any) -> None:
    if not isinstance(self._program_state, ProgramStopped):
        _set_error(self, error)


def _heard_already(self: CallbackEndpoint, heartbeat_seconds: int) -> Any:
    """Let a task end that was settled by its own function: moto waits for a heartbeat before it looks."""
    beats = _setup(self, heartbeat_seconds)
    if self._outcome is not None:
        beats.notify()
    return beats


def _named(self: StateTaskServiceLambda, env: Any, ex: Exception) -> Any:
    if not isinstance(ex, StatesError):
        return _from_error(self, env, ex)
    details = TaskFailedEventDetails(error=ex.name.error_name, cause=str(ex), resource="invoke", resourceType="lambda")
    return FailureEvent(env, ex.name, HistoryEventType.TaskFailed, EventDetails(taskFailedEventDetails=details))


def _entered(EnteredTime: str, Name: str) -> Any:  # noqa: N803
    """Return what the context object tells of a state; AWS gives milliseconds and a Z."""
    moment = datetime.fromisoformat(EnteredTime).isoformat(timespec="milliseconds")
    return _StateData(EnteredTime=moment.replace("+00:00", "Z"), Name=Name)


@lru_cache
def _parsed_once(definition: str) -> Any:
    return _parse(definition)
