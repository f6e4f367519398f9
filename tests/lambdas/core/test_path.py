"""What an execution's history is charged for: entered states, retries, time of functions. Offline."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from lambdas.core.path import Path, assumed, taken

BEGIN = datetime(2026, 11, 23, 18, tzinfo=UTC)


def history(*told):
    """Return events from (seconds, type or the state that is entered)."""
    return [_event(BEGIN + timedelta(seconds=seconds), what) for seconds, what in told]


def _event(at, what):
    if what.startswith("enter "):
        return {"timestamp": at, "type": "TaskStateEntered", "stateEnteredEventDetails": {"name": what[6:]}}
    return {"timestamp": at, "type": what}


def test_each_entered_state_and_each_retry_is_a_transition():
    events = history(
        (0, "ExecutionStarted"), (0, "enter AcceptRun"),
        (0, "TaskScheduled"), (2, "TaskFailed"), (4, "TaskScheduled"), (5, "TaskFailed"), (9, "TaskScheduled"),
        (10, "TaskSucceeded"), (10, "enter CollectOutcome"), (10, "TaskScheduled"), (11, "TaskSucceeded"),
        (11, "enter RunSucceeded"), (11, "ExecutionSucceeded"),
    )  # fmt: skip

    assert taken(events) == Path(transitions=3 + 2, tasks=4, function_seconds=2 + 1 + 1 + 1)


def test_the_time_that_a_callback_state_waits_is_no_time_of_its_function():
    events = history(
        (0, "enter AwaitTraining"), (0, "TaskScheduled"), (0.1, "TaskStarted"), (3, "TaskSubmitted"),
        (3600, "TaskSucceeded"), (3600, "enter CollectOutcome"),
    )  # fmt: skip

    assert taken(events) == Path(transitions=2, tasks=1, function_seconds=3)


def test_the_state_that_asks_knows_what_follows_it_unless_the_execution_has_ended():
    asking = history((0, "enter Cleanup"), (1, "enter RecordRun"), (1, "TaskScheduled"))

    assert taken(asking).transitions == 4
    assert taken([*asking, *history((2, "ExecutionAborted"))]).transitions == 2


def test_a_history_that_cannot_be_read_is_assumed_by_the_attempts(make_record):
    first, third = assumed(make_record()), assumed(make_record(attempt=3))

    assert (first.transitions, third.transitions, first.counted) == (15, 25, False)
    assert third.tasks > first.tasks
    assert third.function_seconds > first.function_seconds


KINDS = ("enter A", "TaskScheduled", "TaskStarted", "TaskSubmitted", "TaskFailed", "TaskSucceeded", "WaitStateExited")


@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from(KINDS)), max_size=30))
def test_whatever_is_in_a_history_more_of_it_is_never_charged_less(told):
    events = history(*sorted(told, key=lambda one: one[0]))
    counts = [taken(events[:length]) for length in range(len(events) + 1)]

    for less, more in pairwise(counts):
        assert more.transitions >= less.transitions
        assert more.tasks >= less.tasks
        assert more.function_seconds >= less.function_seconds >= 0
