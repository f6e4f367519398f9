"""Verdicts over any record and any error: one of the closed list, with sentence, detail and next step. For pytest."""

import json

from hypothesis import given
from hypothesis import strategies as st

from contracts.reasons import CAUSE_LENGTH, REASONS, explain
from lambdas.core.costs import actual_cost
from lambdas.core.path import assumed
from lambdas.core.registry import read_model
from lambdas.core.verdict import ending, outcome
from tests.properties.budget import examples
from tests.properties.documents import CREATED_AT, records, texts, values

# For what is left of the run and for where its evidence lies.
ROOM = 300

codes = st.sampled_from([*REASONS, "States.Timeout", "States.HeartbeatTimeout", "States.Runtime", "KeyError", ""])
causes = st.one_of(
    st.none(), texts, st.builds(lambda text, times: text * times, texts, st.integers(1, 5000)), values.map(json.dumps),
    st.just("[" * 5000),
    texts.map(lambda text: json.dumps({"errorType": "X", "errorMessage": text})),
)  # fmt: skip
caught = st.none() | st.builds(lambda name, cause: {"Error": name, "Cause": cause}, codes, causes)
moments = st.integers(CREATED_AT, CREATED_AT + 100_000)
ec2_states = st.sampled_from(["", "running", "shutting-down", "terminated", "stopped"])


@examples(1200)
@given(st.none() | records, caught, moments, ec2_states)
def test_every_end_is_a_success_that_was_reported_or_a_reason_with_sentence_and_next_step(made, error, now, state):
    end = ending(made, error, now, state)
    told = outcome(made, end, now)

    if end.completed:
        assert made is not None
        assert made.state == "completed"
        assert told == {
            "status": "completed",
            "reason_code": None,
            "cause": None,
            "next": "cleanup",
            "next_attempt": None,
            "boot": None,
            "returns": 0,
        }
        return
    assert end.code in REASONS
    assert told["status"] == "failed"
    assert told["cause"].startswith(REASONS[end.code].sentence)
    assert told["cause"].endswith("Next: " + REASONS[end.code].next_step)
    assert len(told["cause"]) <= CAUSE_LENGTH - ROOM


@examples(700)
@given(records, caught, moments, ec2_states)
def test_a_retry_is_bounded_by_attempts_deadline_and_the_end_of_the_run(made, error, now, state):
    end = ending(made, error, now, state)
    told = outcome(made, end, now)

    if told["next"] == "retry":
        assert REASONS[end.code].retryable
        assert told["next_attempt"] == made.attempt + 1 <= made.request["max_attempts"]
        assert now < made.deadline_at
        assert not made.closed_at


@examples(700)
@given(st.none() | records, caught, moments, ec2_states)
def test_a_run_goes_back_to_waiting_only_for_an_instance_that_reports_in_time(made, error, now, state):
    end = ending(made, error, now, state, may_await=True)

    if end.goes_on:
        assert made.seq
        assert now - made.heartbeat_at < made.request["heartbeat_timeout_seconds"]
        assert now < made.deadline_at
        assert state not in ("shutting-down", "terminated", "stopped")
        assert not made.closed_at
        told = outcome(made, end, now, returns=3)
        assert (told["status"], told["next"], told["returns"]) == ("running", "await", 4)
        assert told["boot"]["training_timeout_seconds"] >= 1


@examples(500)
@given(st.sampled_from(sorted(REASONS)), st.builds(lambda text, times: text * times, texts, st.integers(1, 5000)))
def test_a_cause_is_short_enough_to_be_recorded_whole(code, detail):
    cause = explain(code, detail)

    assert len(cause) <= CAUSE_LENGTH - ROOM
    assert cause.startswith(REASONS[code].sentence)
    assert cause.endswith("Next: " + REASONS[code].next_step)


@examples(400)
@given(records, moments)
def test_a_cost_is_never_negative_and_the_registry_is_json(made, now):
    assert actual_cost(made, assumed(made), now).total_usd >= 0

    model = read_model([made], "bucket", now)
    assert json.loads(json.dumps(model, allow_nan=False)) == model
