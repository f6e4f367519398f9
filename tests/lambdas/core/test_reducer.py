"""The state reducer: what reports change, in whatever order and number they come. Runs under pytest, offline."""

import json
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.documents import check
from lambdas.adapters.objects import Objects
from lambdas.core.records import TERMINAL_STATES
from lambdas.core.reducer import advance, refusal, settlement, training_timeout_seconds

RUN_ID = "20261123-180000"
INSTANCE = "i-0123456789abcdef0"
NOW = 1795456800 + 600


def report(seq, status="running", **more):
    phase = {"booting": "boot", "completed": "done"}.get(status, "training")
    return check("system_state", {
        "schema_version": 1, "run_id": RUN_ID, "attempt": 1, "instance_id": INSTANCE, "seq": seq, "status": status,
        "phase": phase, "heartbeat_at": "2026-11-23T18:05:00Z", **more,
    })  # fmt: skip


def taken_in(record, reports, now=NOW):
    for state in reports:
        if refusal(record, state) is None:
            record = record.with_changes(advance(record, state, now))
    return record


statuses = st.sampled_from(["booting", "running", "completed", "failed", "interrupted"])
reports = st.lists(
    st.builds(
        report,
        st.integers(1, 12),
        statuses,
        attempt=st.integers(1, 2),
        instance_id=st.sampled_from([INSTANCE, "i-0fedcba9876543210"]),
        run_id=st.sampled_from([RUN_ID, "20261123-190000"]),
    ),
    max_size=10,
)


@given(reports)
def test_a_terminal_state_absorbs_all_that_follow(make_record, states):
    for terminal in TERMINAL_STATES:
        ended = taken_in(make_record(), [report(3, terminal)])

        assert taken_in(ended, states) == ended


@given(reports)
def test_seq_only_grows(make_record, states):
    record = make_record()
    for state in states:
        following = taken_in(record, [state])

        assert following.seq > record.seq or following == record
        record = following


@given(reports)
def test_a_duplicate_changes_nothing_however_late(make_record, states):
    record = taken_in(make_record(), states)

    assert taken_in(record, states, now=NOW + 50) == record


@given(reports)
def test_reports_of_another_run_attempt_or_instance_change_nothing(make_record, states):
    foreign = [s for s in states if (s["run_id"], s["attempt"], s["instance_id"]) != (RUN_ID, 1, INSTANCE)]

    assert taken_in(make_record(), foreign) == make_record()


@pytest.mark.parametrize("terminal", TERMINAL_STATES)
def test_the_same_reports_in_any_order_settle_the_same_verdict(make_record, terminal):
    # The instance writes its terminal report last, with the highest seq.
    written = [report(1, "booting"), report(2), report(3), report(4, terminal)]
    verdicts = {
        str(settlement(taken_in(make_record(booted_at=NOW - 60), order), NOW)) for order in permutations(written)
    }

    assert len(verdicts) == 1


def test_what_is_refused_says_why(make_record):
    record = make_record(seq=5)

    assert refusal(record, report(6)) is None
    assert "another run, 20261123-190000" in refusal(record, report(6, run_id="20261123-190000"))
    assert "attempt 2, the current one is 1" in refusal(record, report(6, attempt=2))
    assert "instance i-0fedcba9876543210" in refusal(record, report(6, instance_id="i-0fedcba9876543210"))
    assert refusal(record, report(5)) == "seq 5 is not above 5"
    assert refusal(record.with_changes({"state": "failed"}), report(6)) == "the attempt already failed"


def test_an_early_report_names_the_instance_that_launch_has_not_recorded_yet(make_record):
    record = taken_in(make_record(instance_id=""), [report(1, "booting")])

    assert record.instance_id == INSTANCE


def test_the_times_are_the_controller_s_and_progress_is_dated_only_when_it_changes(make_record):
    at_three = {"step": 3, "total": 8, "unit": "windows"}
    record = taken_in(make_record(), [report(1, progress=at_three)], now=NOW)
    record = taken_in(record, [report(2, progress=at_three)], now=NOW + 30)

    assert (record.booted_at, record.heartbeat_at, record.progress_at) == (NOW, NOW + 30, NOW)
    assert record.progress == "training 3/8 windows"

    record = taken_in(record, [report(3, progress={"step": 4, "total": None, "unit": "windows"})], now=NOW + 60)

    assert (record.progress, record.progress_at) == ("training 4 windows", NOW + 60)


def test_the_first_report_ends_the_boot_with_the_time_training_may_take(make_record):
    record = taken_in(make_record(stage="boot"), [report(1, "booting")])

    told = settlement(record, NOW)

    assert told.kind == "success"
    assert told.output["instance_id"] == INSTANCE
    assert told.output["boot_seconds"] == NOW - record.launch_started_at
    assert told.output["training_timeout_seconds"] == record.deadline_at - NOW + 180


def test_a_boot_that_failed_fails_with_the_instance_s_reason(make_record):
    broken = report(1, "failed", error={"code": "BootFailed", "message": "no disk"})

    told = settlement(taken_in(make_record(stage="boot"), [broken]), NOW)

    assert (told.kind, told.code, told.message) == ("failure", "BootFailed", "no disk")


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        ("failed", "DataSyncFailed", "DataSyncFailed"),
        ("failed", "Nonsense", "TrainingFailed"),
        ("failed", "Aborted", "TrainingFailed"),
        ("failed", "MonthlyBudgetExceeded", "TrainingFailed"),
        ("interrupted", "Nonsense", "SpotInterrupted"),
        ("interrupted", "CapacityUnavailable", "SpotInterrupted"),
    ],
)
def test_a_failure_carries_a_reason_that_a_machine_can_know(make_record, status, code, expected):
    record = taken_in(make_record(), [report(2, status, error={"code": code, "message": "why"})])

    assert settlement(record, NOW).code == expected


def test_nothing_is_said_before_the_first_report_and_after_the_stages(make_record):
    assert settlement(make_record(stage="boot"), NOW) is None
    assert settlement(make_record(booted_at=NOW - 60), NOW) is None
    assert settlement(make_record(stage="", seq=3), NOW) is None


def test_a_live_instance_that_makes_no_progress_is_stalled(make_record):
    request = {"no_progress_timeout_seconds": 100}
    record = make_record(request, seq=9, booted_at=NOW - 500, progress_at=NOW - 101, progress="training 3/8 windows")

    assert settlement(record, NOW - 1).kind == "heartbeat"
    assert settlement(record, NOW).code == "NoProgress"
    assert "training 3/8 windows for 101 s, allowed 100 s" in settlement(record, NOW).message


def test_a_phase_over_its_time_is_ended_even_while_it_progresses(make_record):
    request = {"phase_timeout_seconds": 60}
    record = make_record(request, seq=9, booted_at=NOW - 500, progress_at=NOW, phase="training", phase_at=NOW - 61)

    assert settlement(record, NOW - 1).kind == "heartbeat"
    assert settlement(record, NOW).code == "PhaseTimedOut"


def test_completed_wins_over_stalled(make_record):
    record = make_record({"no_progress_timeout_seconds": 6}, seq=9, state="completed", booted_at=NOW - 500)

    assert settlement(record, NOW).kind == "success"


@given(st.integers(-10_000, 100_000))
def test_training_always_gets_at_least_a_second_and_a_heartbeat(make_record, elapsed):
    record = make_record()

    assert training_timeout_seconds(record, record.created_at + elapsed) >= 181


class _OneObject(Objects):
    def __init__(self, content):
        super().__init__("bucket")
        self.content = content

    def head(self, key, limit):
        return self.content[:limit]


@given(
    st.binary(max_size=300)
    | st.recursive(
        st.none() | st.text(max_size=5) | st.floats(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=8), inner),
        max_leaves=8,
    ).map(lambda value: json.dumps(value).encode())
)
@settings(max_examples=150)
def test_no_content_of_system_state_crashes_the_controller(content):
    assert _OneObject(content).state("phase1/2026/11/23-180000/") is None


def test_an_oversized_report_is_ignored_even_when_it_is_valid():
    valid = json.dumps(report(1, "completed")).encode()

    assert _OneObject(valid).state("")["status"] == "completed"
    assert _OneObject(valid + b" " * 64 * 1024).state("") is None
