"""How long a run goes on asking for capacity, and what its record keeps of the rounds. Runs under pytest, offline."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdas.core.ladder import Answer, Rung, client_token, may_change, round_from
from lambdas.core.waiting import ROUND_SECONDS, again_at, logged, notice, waited, waits_until

SINCE = 1795456800 + 60
NO_CAPACITY = "InsufficientInstanceCapacity"
codes = st.sampled_from([NO_CAPACITY, "SpotMaxPriceTooLow", "VcpuLimitExceeded", "Unsupported"])
rungs = st.builds(
    Rung, st.sampled_from(["spot", "on_demand"]), st.sampled_from(["g4dn.xlarge", "g4dn.2xlarge"]),
    st.sampled_from(["subnet-a", "subnet-ab"]),
)  # fmt: skip
answers = st.builds(Answer, rungs, codes, st.integers(SINCE, SINCE + 90_000), st.floats(0, 40))


def refused(code: str = NO_CAPACITY, subnet: str = "subnet-a", at: int = SINCE) -> Answer:
    return Answer(Rung("on_demand", "g4dn.2xlarge", subnet), code, at)


def test_without_a_wait_a_run_asks_once(make_record):
    assert again_at(make_record(capacity_since=SINCE), [refused()], SINCE) == 0
    before_the_field = make_record(capacity_since=SINCE)
    del before_the_field.request["capacity_wait_minutes"]
    assert again_at(before_the_field, [refused()], SINCE) == 0


def test_a_round_is_begun_only_while_the_wait_lasts(make_record):
    record = make_record({"capacity_wait_minutes": 3}, capacity_since=SINCE)

    assert waits_until(record) == SINCE + 180
    assert again_at(record, [refused()], SINCE + 119) == SINCE + 179
    assert again_at(record, [refused()], SINCE + 120) == 0


def test_no_wait_goes_beyond_the_deadline_of_the_run(make_record):
    """A second attempt begins late: it may wait as long as the first, but not longer than the run may take."""
    record = make_record({"capacity_wait_minutes": 100}, capacity_since=SINCE + 6000)

    assert waits_until(record) == record.deadline_at
    assert again_at(record, [refused()], record.deadline_at - ROUND_SECONDS) == 0


@pytest.mark.parametrize(
    ("said", "useful"),
    [
        ([NO_CAPACITY], True),
        ([NO_CAPACITY, "VcpuLimitExceeded", "AboveMaxUsdPerHour"], True),
        (["SpotMaxPriceTooLow"], True),
        (["VcpuLimitExceeded"], False),
        (["AboveMaxUsdPerHour", "Unsupported"], False),
        (["AboveMaxUsdPerHour", "VcpuLimitExceeded"], False),
        ([NO_CAPACITY, "UnauthorizedOperation"], False),
    ],
)
def test_only_a_lack_of_capacity_is_worth_a_wait(said, useful):
    assert may_change([refused(code) for code in said]) is useful


@given(st.integers(1, 50), st.integers(0, 2000), st.integers(1, 5))
def test_rounds_ask_every_rung_once_and_share_no_token(count, rounds, attempt):
    index, seen = 0, []
    for _ in range(min(rounds, 5) + 1):
        asked = round_from(index, count)
        assert [i % count for i in asked] == list(range(count))
        seen += [client_token("20261123-180000-999", attempt, i) for i in asked]
        index = asked[-1] + 1
    assert len(set(seen)) == len(seen)
    assert len(client_token("20261123-180000-999", attempt, rounds * count)) <= 64


@given(st.integers(0, 5000), st.integers(1, 50))
def test_a_round_that_was_broken_off_goes_on_and_ends_where_it_would_have(index, count):
    left = round_from(index, count)

    assert left[0] == index
    assert (left[-1] + 1) % count == 0
    assert 1 <= len(left) <= count


@given(st.lists(st.lists(answers, max_size=12), max_size=12))
def test_the_log_names_every_answer_of_every_rung_counts_them_and_stays_small(walks):
    lines: tuple[str, ...] = ()
    for walk in walks:
        lines = logged(lines, walk)

    given_ = [answer for walk in walks for answer in walk]
    different = {(str(answer.rung), answer.said) for answer in given_}
    assert len(lines) == len(different)
    assert all(any(f" {rung}: {said} (" in line for line in lines) for rung, said in different)
    again = [re.search(r", again (\d+) times, last ", line) for line in lines]
    assert sum(1 + int(found[1] if found else 0) for found in again) == len(given_)


def test_what_people_are_told_has_the_moments_first(make_record):
    record = make_record({"capacity_wait_minutes": 30}, capacity_since=SINCE)

    assert notice(record, [refused()], SINCE + 60) == (
        "No capacity yet, asks again at 2026-11-23T18:02:00Z, until 2026-11-23T18:31:00Z. "
        f"Tried on_demand g4dn.2xlarge in subnet-a: {NO_CAPACITY}."
    )
    assert waited(record, 1, SINCE) == ""
    assert waited(record, 29, SINCE + 1740).startswith("Asked 29 times in 29 minutes, from 2026-11-23T18:01:00Z to")
