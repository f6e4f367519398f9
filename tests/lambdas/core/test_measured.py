"""Metrics as a record keeps them: of the requested models, finite, small. Runs under pytest, offline."""

import json

import pytest

from lambdas.core.measured import finite, recorded_metrics


def metadata(**models):
    return {"models": {name: {"metrics": metrics} for name, metrics in models.items()}}


def test_only_the_models_that_were_asked_for_are_kept():
    told = metadata(AutoETS={"mae": 1.0}, Another={"mae": 2.0})

    assert recorded_metrics(told, ["AutoETS", "SeasonalNaive"]) == {"AutoETS": {"mae": 1.0}}


@pytest.mark.parametrize("value", [10**400, -(10**400), float("inf"), float("nan"), "1", True, None, [1]])
def test_what_is_no_finite_number_is_none(value):
    assert finite(value) is None
    assert recorded_metrics(metadata(AutoETS={"mae": value}), ["AutoETS"]) == {"AutoETS": {"mae": None}}


@pytest.mark.parametrize("value", [0, 1, -1.5, 1e308, 10**308])
def test_a_finite_number_is_kept_as_it_is(value):
    assert finite(value) == value


def test_a_document_of_many_models_makes_a_small_record():
    told = metadata(**{f"model-{n}": {"mae": 1.0} for n in range(8000)})

    assert len(json.dumps(recorded_metrics(told, ["model-7", "model-8"]))) < 100
