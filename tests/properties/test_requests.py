"""Requests of every kind: accepted with all defaults, or refused by name, with field, expected and next step."""

import json
from string import ascii_letters

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from contracts.documents import DocumentInvalid, check, dump, parse, schema
from contracts.reasons import CostCapTooLow, MonthlyBudgetExceeded, QuotaTooLow, RequestInvalid
from lambdas.core import acceptance
from lambdas.core.ladder import client_token, rungs
from lambdas.core.records import RunRecord, from_item, to_attributes
from lambdas.core.verdict import ending, outcome
from tests.properties.budget import examples
from tests.properties.documents import (
    CREATED_AT,
    REQUEST_FIELDS,
    RUN_ID,
    broken_requests,
    nested,
    record,
    texts,
    valid_requests,
    values,
)

SUBNETS = ["subnet-a", "subnet-b", "subnet-c"]


def accepted(document):
    """Return the checked request, or None when it was refused as a person can understand it."""
    try:
        return acceptance.checked_request(document)
    except RequestInvalid as error:
        cause = {"Error": error.code, "Cause": json.dumps({"errorType": error.code, "errorMessage": error.message})}
        told = outcome(None, ending(None, cause, CREATED_AT), CREATED_AT)
        field, _, rest = error.message.partition(": expected ")
        assert field
        assert ", found " in rest
        assert told["reason_code"] == "RequestInvalid"
        assert "Next: Correct the field named in the cause" in told["cause"]
        assert len(told["cause"]) <= 2000
        return None


@examples(1200)
@given(valid_requests)
def test_a_valid_request_is_accepted_with_every_default_and_means_the_same_when_sent_again(request_):
    checked = accepted(request_)

    assert checked is not None
    assert set(checked) == set(REQUEST_FIELDS)
    assert {name: checked[name] for name in request_} == request_
    assert acceptance.checked_request(checked) == checked
    assert json.loads(json.dumps(checked, allow_nan=False)) == checked


@examples(1500)
@given(broken_requests())
def test_a_broken_request_is_accepted_or_refused_by_name_and_nothing_else(request_):
    checked = accepted(request_)

    if checked is not None:
        assert set(checked) == set(REQUEST_FIELDS)
        assert json.loads(json.dumps(checked, allow_nan=False)) == checked


@examples(700)
@given(values)
def test_anything_that_is_no_request_is_refused_by_name(document):
    assume(document != {})
    checked = accepted(document)

    assert checked is None or set(document) <= set(REQUEST_FIELDS)


@examples(600)
@given(valid_requests, st.text(ascii_letters, min_size=1, max_size=12), values)
def test_an_unknown_field_is_refused_by_its_own_name(request_, name, value):
    assume(name not in REQUEST_FIELDS)

    # A number that no reader could hold is refused before the fields are looked at.
    with pytest.raises(RequestInvalid, match=f"^({name}: expected no such field|run_request: expected numbers)"):
        acceptance.checked_request({**request_, name: value})


@examples(700)
@given(st.one_of(st.text(max_size=60), st.binary(max_size=60), broken_requests().map(json.dumps)), st.integers(0, 60))
def test_bytes_are_a_document_or_refused_whatever_they_are(text, cut):
    for given_text in (text, text[:cut]):
        try:
            document = parse("run_request", given_text)
        except DocumentInvalid as refused:
            assert refused.field
            assert refused.expected
        else:
            assert set(document) == set(REQUEST_FIELDS)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('{"max_cost_usd": NaN}', id="NaN"),
        pytest.param('{"max_cost_usd": Infinity}', id="infinity"),
        pytest.param('{"max_cost_usd": 1e999}', id="overflow"),
        pytest.param('{"seed": 1' + "0" * 5000 + "}", id="long integer"),
        pytest.param("[" * 100_000, id="never closed"),
        pytest.param(json.dumps({"models": nested(900)}), id="deep"),
        pytest.param('{"dataset": "\\ud800"}', id="half a pair"),
        pytest.param('{"seed": 1, "seed": -1}', id="twice"),
    ],
)
def test_json_that_breaks_naive_readers_is_refused(text):
    for content in (text, text.encode("utf-8", "surrogatepass")):
        with pytest.raises(DocumentInvalid):
            parse("run_request", content)


@pytest.mark.parametrize(
    "number", [float("nan"), float("inf"), -float("inf"), 10**5000], ids=["NaN", "infinity", "negative", "long"]
)
def test_a_number_that_is_none_is_refused_also_when_it_was_decoded_elsewhere(number):
    for name in ("max_cost_usd", "max_runtime_minutes", "seed", "transaction_cost_bps"):
        with pytest.raises(RequestInvalid):
            acceptance.checked_request({name: number})


@examples(500)
@given(valid_requests, st.floats(0, 100), st.floats(0, 100))
def test_what_an_accepted_request_may_cost_is_finite_and_a_cap_refuses_by_name(request_, spent, budget):
    request_ = acceptance.checked_request(request_)
    cost = acceptance.estimate(request_)

    assert 0 < cost.total_usd < 10_000
    try:
        acceptance.check_cost(request_, cost)
        acceptance.check_budget(cost.total_usd, spent, budget)
    except (CostCapTooLow, MonthlyBudgetExceeded) as refused:
        assert cost.total_usd > request_["max_cost_usd"] or spent + cost.total_usd > budget
        assert refused.message
    else:
        assert cost.total_usd <= request_["max_cost_usd"]
        assert spent + cost.total_usd <= budget


@examples(300)
@given(valid_requests, st.dictionaries(st.sampled_from(["on_demand", "spot"]), st.none() | st.floats(0, 64)))
def test_a_quota_refuses_by_name_and_with_the_command(request_, quotas):
    request_ = acceptance.checked_request(request_)
    try:
        acceptance.check_quota(request_, quotas)
    except QuotaTooLow as refused:
        assert "aws service-quotas request-service-quota-increase" in refused.message


@examples(500)
@given(valid_requests, st.integers(1, 5))
def test_every_attempt_of_an_accepted_request_has_a_ladder_with_a_token_for_each_rung(request_, attempt):
    ladder = rungs(acceptance.checked_request(request_), SUBNETS, attempt)
    tokens = [client_token(f"{RUN_ID}-999", attempt, index) for index in range(len(ladder))]

    assert ladder
    assert len(set(ladder)) == len(ladder)
    assert len(set(tokens)) == len(tokens)
    assert all(token.isascii() and len(token) <= 64 for token in tokens)


@examples(400)
@given(valid_requests, texts)
def test_the_record_and_the_manifest_hold_an_accepted_request_unchanged(request_, cause):
    made = record(request_, cause=cause)
    folder = acceptance.folder("a", "datasets/a/", [acceptance.Stored("datasets/a/x.csv", 1, "e", 0.0)])
    manifest = acceptance.manifest(RUN_ID, "bucket", made.request, CREATED_AT, folder, None)

    assert from_item({**made.to_item(), **to_attributes({"request": made.request})}) == made
    assert isinstance(made, RunRecord)
    assert parse("manifest", dump("manifest", manifest)) == manifest
    assert check("run_request", manifest["request"]) == made.request
    assert set(schema("run_request")["properties"]) == set(made.request)
