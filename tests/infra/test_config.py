"""Options of a deployment: every one has a default, anything else is refused by name. Runs under pytest, offline."""

import json
from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import pytest

from infra.config import Config, ConfigInvalid, config_from_context
from infra.functions import _retention

DEFAULTS = json.loads((Path(__file__).parent.parent.parent / "cdk.json").read_text())["context"]


def test_every_option_has_its_default_in_cdk_json():
    config = config_from_context(DEFAULTS)

    assert {field.name for field in fields(Config)} == set(DEFAULTS)
    assert config.stack_name == "ChronosTraining"
    assert config.monthly_budget_usd == 50.0
    assert isinstance(config.monthly_budget_usd, float)


def test_the_config_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        config_from_context(DEFAULTS).stack_name = "Other"


def test_an_unknown_option_is_refused_with_the_nearest_name():
    with pytest.raises(ConfigInvalid, match=r"montly_budget_usd: expected one of .*did you mean monthly_budget_usd"):
        config_from_context({**DEFAULTS, "montly_budget_usd": 5})


def test_what_the_cdk_cli_puts_beside_the_options_is_no_option():
    extra = {
        "@aws-cdk/core:newStyleStackSynthesis": True,
        "aws:cdk:enable-path-metadata": True,
        "availability-zones:account=1:region=x": ["a"],
    }

    assert config_from_context({**DEFAULTS, **extra}) == config_from_context(DEFAULTS)


def test_a_missing_option_is_refused_by_name():
    with pytest.raises(ConfigInvalid, match=r"vpc_cidr: expected a value in cdk\.json's context, found none"):
        config_from_context({key: value for key, value in DEFAULTS.items() if key != "vpc_cidr"})


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("monthly_budget_usd", "much", "float from 1 to 100000, found 'much'"),
        ("monthly_budget_usd", True, "float from 1 to 100000, found True"),
        ("monthly_budget_usd", "nan", "float from 1 to 100000, found 'nan'"),
        ("execution_timeout_hours", 25, "int from 26 to 240, found 25"),
        ("execution_timeout_hours", "40.5", "int from 26 to 240, found '40.5'"),
        ("execution_timeout_hours", 40.5, "int from 26 to 240, found 40.5"),
        ("dead_man_margin_minutes", None, "int from 1 to 1440, found None"),
        ("stack_name", 5, "str, found 5"),
    ],
)
def test_a_wrong_value_is_refused_with_name_expectation_and_finding(option, value, expected):
    with pytest.raises(ConfigInvalid) as caught:
        config_from_context({**DEFAULTS, option: value})

    assert str(caught.value) == f"{option}: expected {expected}"


@pytest.mark.parametrize(
    ("option", "text", "value"),
    [("monthly_budget_usd", "12.5", 12.5), ("log_retention_days", "30", 30), ("stack_name", "Mine", "Mine")],
)
def test_the_text_that_cdk_c_passes_is_read_as_the_option_s_type(option, text, value):
    assert getattr(config_from_context({**DEFAULTS, option: text}), option) == value


def test_a_retention_that_cloudwatch_does_not_offer_is_refused():
    with pytest.raises(ValueError, match=r"log_retention_days: expected one of .*, found 5"):
        _retention(5)
