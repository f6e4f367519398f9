"""What an execution did, from its history: transitions, calls of functions, their time. Runs in Lambda; pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from contracts.prices import ASSUMED_TRANSITIONS
from lambdas.core.records import RunRecord

# The state that asks, and the states that follow it on every path: DidRunSucceed, and the end.
ASKING, FOLLOWING = "RecordRun", 2
# What a state of a further attempt adds: BeginNextAttempt to DecideWhatFollows, three of them with a function.
ATTEMPT_TRANSITIONS, ATTEMPT_TASKS = 5, 3
ASSUMED_TASKS = 7
ASSUMED_TASK_SECONDS = 5.0
# The function of a callback task has returned when the task is submitted; what comes then is waiting.
_ANSWERED = ("TaskSubmitted", "TaskSubmitFailed", "TaskSucceeded", "TaskFailed", "TaskStartFailed", "TaskTimedOut")


@dataclass(frozen=True)
class Path:
    """What is charged of an execution; `counted` says whether its history told, or nothing better is known."""

    transitions: int
    tasks: int
    function_seconds: float
    counted: bool = True


def taken(events: Iterable[dict[str, Any]]) -> Path:
    """Return what the events of a history tell, as GetExecutionHistory gives them in order.

    A retry enters no state: it schedules the task again, and is charged as another transition
    (https://aws.amazon.com/step-functions/pricing/). Of an execution that waits for `ASKING` the rest is known.
    """
    transitions = tasks = scheduled = 0
    seconds, began, state, ended = 0.0, None, "", False
    for event in events:
        kind = event["type"]
        if kind.endswith("StateEntered"):
            transitions, scheduled, state = transitions + 1, 0, event["stateEnteredEventDetails"]["name"]
        elif kind == "TaskScheduled":
            transitions, tasks, scheduled = transitions + min(scheduled, 1), tasks + 1, scheduled + 1
            began = event["timestamp"]
        elif kind in _ANSWERED and began is not None:
            seconds, began = seconds + (event["timestamp"] - began).total_seconds(), None
        ended = ended or (kind.startswith("Execution") and kind != "ExecutionStarted")
    rest = FOLLOWING if state == ASKING and not ended else 0
    return Path(transitions + rest, tasks, max(0.0, seconds))


def assumed(record: RunRecord) -> Path:
    """Return what a run of so many attempts does when all goes well."""
    further = record.attempt - 1
    tasks = ASSUMED_TASKS + ATTEMPT_TASKS * further
    return Path(ASSUMED_TRANSITIONS + ATTEMPT_TRANSITIONS * further, tasks, tasks * ASSUMED_TASK_SECONDS, counted=False)
