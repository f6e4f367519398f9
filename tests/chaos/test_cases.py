"""The kinds of cases beyond single calls: functions, outages of a service, releases, pairs of faults, the soak."""

from collections import Counter

import pytest

from chaos.cases import Case, calls, tasks
from chaos.function_cases import EVENTS, NAMES, PART, STATES, again, killed, late, part
from chaos.machine_cases import machine
from chaos.net_cases import EFFECTS, LOOKS, SERVICES, nets, outages, rule
from chaos.pairs import can_pair, fit, pairs, right
from chaos.soak import COVERED, REFUSED, wrong
from chaos.stack_cases import versions

CALLS = {"AcceptRun": [f"s3:Call{number}" for number in range(20)], "SweepRun": ["ec2:DescribeInstances"] * 3}
ABLE = [
    *calls("lambda:AcceptRun", "s3", "GetObject"), *calls("instance", "s3", "PutObject"), *tasks("Cleanup"),
    *killed(CALLS), *late({}), *machine(),
]  # fmt: skip


def named(text: str) -> Case:
    (found,) = (case for case in ABLE if text == case.name)
    return found


def test_a_process_is_killed_after_each_call_that_every_run_makes_under_each_name() -> None:
    cases = killed(CALLS)

    assert len(cases) == (20 + 2) * len(NAMES)
    assert {case.fault["functions"]["AcceptRun"]["call"] for case in cases if "AcceptRun" in case.name} == {
        *CALLS["AcceptRun"]
    }
    assert {case.verdicts for case in cases if "SweepRun" in case.name} == {("Aborted",)}


def test_a_tenth_of_the_deaths_is_chosen_some_of_every_function_and_the_same_each_time() -> None:
    chosen = Counter(next(iter(case.fault["functions"])) for case in part(killed(CALLS)))

    assert chosen == {"AcceptRun": 40 // PART, "SweepRun": 1}
    assert part(killed(CALLS)) == part(killed(CALLS))


def test_every_state_and_every_event_has_a_late_first_invocation_and_the_events_fail_twice() -> None:
    names = [case.name for case in late(CALLS)]

    assert {name.split()[1] for name in names} == {*STATES, *EVENTS}
    assert sum("frozen" in name for name in names) == 1
    assert {case.name.split()[1] for case in again() if case.name.endswith("fails twice")} == set(EVENTS)


def test_each_net_is_alone_with_each_service_and_look_down_in_each_way() -> None:
    met = Counter((case.fault["net"], case.fault["down"]) for case in outages())

    assert {net for net, _ in met} == {"catch", "rule", "dead man", "drain"}
    assert {down for _, down in met} == {*SERVICES, *LOOKS}
    assert {count for (net, _), count in met.items() if net != "drain"} == {len(EFFECTS)}
    assert {case.fault["net"] for case in nets()} == {"catch", "rule", "dead man", "machine"}


def test_a_service_is_down_whatever_it_is_asked_and_a_look_alone() -> None:
    assert "operation" not in rule("dynamodb", "refused")
    assert rule("DescribeVolumes", "hanging")["operation"] == "DescribeVolumes"
    assert rule("s3", "throttled")["error"] == {"code": "SlowDown", "status": 503}


def test_a_run_begins_with_each_release_and_goes_on_with_the_other() -> None:
    assert [case.fault["do"] for case in versions()] == ["update", "rollback"]


def test_pairs_are_the_same_for_their_seed_come_once_and_can_go_together() -> None:
    drawn = pairs(ABLE, 60, seed=1)

    assert drawn == pairs(ABLE, 60, seed=1)
    assert drawn != pairs(ABLE, 60, seed=2)
    assert len({pair.name for pair in drawn}) == 60
    for pair in drawn:
        first, second = pair.fault["pair"]
        assert can_pair(first)
        assert can_pair(second)
        assert fit(first, second)


@pytest.mark.parametrize(
    ("first", "second", "fits"),
    [
        ("machine killed in boot", "machine hung in training", False),
        ("machine killed in boot", "lambda:AcceptRun s3:GetObject refused", True),
        ("states:Cleanup lambda:Invoke refused", "states:Cleanup lambda:Invoke answer lost", False),
        ("states:Cleanup lambda:Invoke refused", "late Cleanup after its retry", False),
        ("lambda:AcceptRun s3:GetObject refused", "lambda:AcceptRun s3:GetObject answer lost", True),
    ],
)
def test_two_faults_fit_when_neither_takes_the_other_s_place(first: str, second: str, fits: bool) -> None:
    assert fit(named(first), named(second)) is fits


@pytest.mark.parametrize("name", ["machine killed in data_sync", "late SweepRun after its repetition"])
def test_a_fault_that_needs_the_run_for_itself_is_in_no_pair(name: str) -> None:
    assert not can_pair(named(name))


def test_a_pair_may_end_as_either_fault_and_succeeds_only_if_both_may() -> None:
    passes, lasts = named("instance s3:PutObject throttled, then fine"), named("states:Cleanup lambda:Invoke refused")
    stalled = Case("machine stalled in training", "machine", ("NoProgress",), "why", {"do": "stalled"})

    assert right(passes, lasts) == ("CleanupIncomplete", "SUCCEEDED")
    assert right(passes, stalled) == ("NoProgress",)


def test_a_pair_of_one_caller_may_take_more_tries_than_it_has() -> None:
    ours = right(
        named("lambda:AcceptRun s3:GetObject throttled, then fine"),
        named("lambda:AcceptRun s3:GetObject server error, then fine"),
    )

    assert "AwsUnavailable" in ours


@pytest.mark.parametrize(
    ("ends", "highest", "left", "expected"),
    [
        ({"SUCCEEDED": COVERED, REFUSED: 42}, 10.0, [], ""),
        ({"SUCCEEDED": COVERED - 1, REFUSED: 43}, 10.0, [], "expected"),
        ({"SUCCEEDED": COVERED, REFUSED: 41, "InternalError": 1}, 10.0, [], "InternalError"),
        ({"SUCCEEDED": COVERED, REFUSED: 42}, 10.5, [], "promised at once"),
        ({"SUCCEEDED": COVERED, REFUSED: 42}, 10.0, ["volume vol-1 available"], "left behind"),
    ],
)
def test_a_soak_is_right_when_the_budget_s_runs_complete_and_the_others_are_refused(
    ends: dict[str, int], highest: float, left: list[str], expected: str
) -> None:
    found = wrong(ends, highest, 10.0, left)

    assert len(found) == bool(expected)
    assert expected in "".join(found)
