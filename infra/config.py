"""The options of a deployment: cdk.json's context as one typed, frozen value. Runs at synthesis."""

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from contracts.documents import schema

# What the cdk CLI and its feature flags put into the context beside our options.
_FOREIGN_PREFIXES = ("@aws-cdk", "aws:cdk", "aws-cdk", "cdk-migrate", "availability-zones:")


class ConfigInvalid(ValueError):
    """An option is unknown, missing, of the wrong type or out of range."""


@dataclass(frozen=True)
class Config:
    """Options of a deployment, each with its default in cdk.json."""

    stack_name: str
    vpc_cidr: str
    monthly_budget_usd: float
    execution_timeout_hours: int
    dead_man_margin_minutes: int
    log_retention_days: int


_REQUEST = schema("run_request")["properties"]
# What can be waited for after a run's deadline: the last heartbeat, or the first one of a machine that boots.
_LONGEST_WAIT_SECONDS = max(_REQUEST[f"{wait}_timeout_seconds"]["maximum"] for wait in ("heartbeat", "boot"))
# Then there are the outcome and the cleanup, an hour at most.
_LONGEST_EXECUTION_HOURS = math.ceil(_REQUEST["max_runtime_minutes"]["maximum"] / 60 + _LONGEST_WAIT_SECONDS / 3600 + 1)
_RANGES = {
    "monthly_budget_usd": (1, 100_000),
    "execution_timeout_hours": (_LONGEST_EXECUTION_HOURS, 240),
    "dead_man_margin_minutes": (1, 1440),
    "log_retention_days": (1, 3653),
}


def config_from_context(context: Mapping[str, Any]) -> Config:
    """Return the config in a CDK context.

    Raises
    ------
    ConfigInvalid
        With the option's name, what was expected and what was found.
    """
    given = {key: value for key, value in context.items() if not key.startswith(_FOREIGN_PREFIXES)}
    known = {field.name: field.type for field in fields(Config)}
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ConfigInvalid(f"{key}: expected one of {', '.join(known)} in cdk.json's context{hint}")
    return Config(**{name: _value(name, kind, given) for name, kind in known.items()})


def _value(name: str, kind: Any, given: Mapping[str, Any]) -> Any:
    if name not in given:
        raise ConfigInvalid(f"{name}: expected a value in cdk.json's context, found none")
    value = given[name]
    # `cdk -c name=value` passes text whatever the option's type.
    if kind is not str:
        try:
            read = kind(value)
            # int(4.5) is 4: what a person wrote must not be changed without a word.
            value = None if isinstance(value, bool) or (isinstance(value, float) and read != value) else read
        except (TypeError, ValueError):
            value = None
    low, high = _RANGES.get(name, (0, 0))
    if value is None or not isinstance(value, kind) or (name in _RANGES and not low <= value <= high):
        wanted = f" from {low} to {high}" if name in _RANGES else ""
        raise ConfigInvalid(f"{name}: expected {kind.__name__}{wanted}, found {given[name]!r}")
    return value
