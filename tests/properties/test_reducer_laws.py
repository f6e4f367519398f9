"""The laws of the state reducer, over reports in any order and number, from anybody. Runs under pytest, offline."""

import json
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.documents import DocumentInvalid, check, dump, parse
from contracts.reasons import INSTANCE_CODES, REASONS
from lambdas.core.records import TERMINAL_STATES
from lambdas.core.reducer import advance, refusal, settlement
from lambdas.core.verdict import ending
from tests.properties.budget import examples
from tests.properties.documents import (
    CREATED_AT,
    INSTANCE,
    OTHER_INSTANCE,
    OTHER_RUN,
    RUN_ID,
    any_reports,
    nested,
    own_reports,
    phases,
    record,
    records,
    report,
    values,
)

NOW = CREATED_AT + 600
terminals = st.sampled_from(TERMINAL_STATES)


def taken_in(made, reports, now=NOW):
    for state in reports:
        if refusal(made, state) is None:
            made = made.with_changes(advance(made, state, now))
    return made


def verdict(made):
    told = settlement(made, NOW)
    return (told and (told.kind, told.code, told.message), ending(made, None, NOW), made.state, made.seq)


@examples(700)
@given(terminals, st.lists(any_reports | own_reports, max_size=12))
def test_a_terminal_state_absorbs_all_that_follow(terminal, reports):
    ended = taken_in(record(), [report(3, terminal)])

    assert taken_in(ended, reports) == ended
    assert verdict(taken_in(ended, reports)) == verdict(ended)


@examples(700)
@given(st.lists(any_reports | own_reports, max_size=12))
def test_seq_only_grows(reports):
    made = record()
    for state in reports:
        following = taken_in(made, [state])

        assert following.seq > made.seq or following == made
        made = following


@examples(600)
@given(st.lists(any_reports | own_reports, max_size=10), st.data())
def test_a_duplicate_changes_nothing_however_often_and_late(reports, data):
    made = taken_in(record(), reports)
    again = data.draw(st.lists(st.sampled_from(reports), max_size=10)) if reports else []

    assert taken_in(made, again, now=NOW + 5000) == made


@st.composite
def histories(draw):
    """Draw what one instance writes: `seq` counts on, and at most the last report is terminal."""
    count = draw(st.integers(0, 4))
    running = [report(n + 1, phase=draw(phases)) for n in range(count)]
    code = draw(st.sampled_from(sorted(REASONS)))
    end = report(count + 1, draw(terminals), error={"code": code, "message": "why"})
    return [*running, end]


@examples(400)
@given(histories())
def test_any_order_of_the_same_events_settles_the_same_verdict(history):
    verdicts = {repr(verdict(taken_in(record(), order))) for order in permutations(history)}

    assert len(verdicts) == 1


@examples(500)
@given(histories(), st.lists(any_reports, max_size=8), st.randoms(use_true_random=False))
def test_foreign_doubled_and_shuffled_events_beside_it_change_no_verdict(history, others, random):
    foreign = [s for s in others if (s["run_id"], s["attempt"], s["instance_id"]) != (RUN_ID, 1, INSTANCE)]
    delivered = [*history, *foreign, *history]
    random.shuffle(delivered)

    assert verdict(taken_in(record(), delivered)) == verdict(taken_in(record(), history))


@examples(500)
@given(records, own_reports, st.sampled_from([{"run_id": OTHER_RUN}, {"attempt": 2}, {"instance_id": OTHER_INSTANCE}]))
def test_another_run_attempt_or_instance_changes_nothing(made, state, foreign):
    mine = made.with_changes({"attempt": 1, "instance_id": INSTANCE})

    assert refusal(mine, state | foreign) is not None
    assert taken_in(mine, [state | foreign]) == mine


@examples(700)
@given(records, own_reports, st.integers(0, 90_000))
def test_what_the_waiting_state_hears_is_of_the_closed_list_and_true(made, state, later):
    made = taken_in(made, [state], NOW)
    told = settlement(made, NOW + later)

    if told is not None and told.kind == "failure":
        assert told.code in REASONS
        assert made.stage
    if told is not None and told.kind == "success" and made.stage == "training":
        assert made.state == "completed"
    if told is not None:
        json.dumps(told.output, allow_nan=False)


@examples(700)
@given(records, terminals, st.sampled_from(sorted(REASONS)) | values.map(str), st.text(max_size=40))
def test_whatever_a_machine_says_of_its_end_only_what_a_machine_can_know_is_believed(made, terminal, code, message):
    waiting = {"attempt": 1, "instance_id": INSTANCE, "state": "", "seq": 0, "stage": "training", "closed_at": 0}
    mine = made.with_changes(waiting)
    ended = taken_in(mine, [report(1, terminal, error={"code": code, "message": message})])
    told, end = settlement(ended, NOW), ending(ended, None, NOW)

    if terminal == "completed":
        assert (told.kind, end.completed) == ("success", True)
        return
    assert told.code == end.code in INSTANCE_CODES
    assert told.message == end.detail
    assert message in told.message
    assert told.code == code or code in told.message


@examples(900)
@given(
    any_reports, st.dictionaries(st.sampled_from([*report(1), "message", "started_at", "x", ""]), values, max_size=3)
)
def test_a_system_state_is_taken_whole_or_refused_whatever_is_in_it(state, broken):
    text = json.dumps(state | broken)
    try:
        parsed = parse("system_state", text)
    except DocumentInvalid as refused:
        assert refused.field
        assert refused.expected
        return
    assert parse("system_state", dump("system_state", parsed)) == parsed
    made = taken_in(record(), [parsed])
    assert made.seq in (0, parsed["seq"])
    assert len(json.dumps(made.to_item(), default=str)) < 64 * 1024


@examples(500)
@given(st.one_of(st.binary(max_size=80), st.text(max_size=80), values.map(json.dumps)))
def test_anything_that_is_no_system_state_is_refused(text):
    with pytest.raises(DocumentInvalid):
        parse("system_state", text)


@pytest.mark.parametrize(
    "field",
    [
        '"seq": NaN',
        '"seq": 1e999',
        '"seq": -1',
        '"seq": 1.5',
        '"seq": 1' + "0" * 5000,
        '"progress": {"step": 1, "total": 2, "unit": "s", "loss": 1e999}',
        '"message": ' + json.dumps("a" * 501),
        '"message": ' + json.dumps(nested(900)),
        '"attempt": 6',
        '"instance_id": "i-0123456789abcdef0\\n"',
        '"run_id": "20261123-180000\\n"',
    ],
    ids=lambda text: text[:70],
)
def test_a_hostile_field_is_refused(field):
    name = field.partition(":")[0].strip('"')
    rest = {key: value for key, value in report(1).items() if key != name}
    text = json.dumps(rest)[:-1] + f", {field}}}"

    with pytest.raises(DocumentInvalid):
        parse("system_state", text)
    assert check("system_state", report(1))
