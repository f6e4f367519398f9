"""Each net alone, also while one service is down for the functions. Pure; runs on a person's machine.

The net has to end the machine while the service still is down: only EC2's call to terminate is not to be done without.
"""

import random
from itertools import cycle
from typing import Any

from chaos.cases import CODES, OTHER_CODES, Case
from local.aws_faults import HANGING

SEED = 4
SERVICES = ("dynamodb", "s3", "scheduler", "stepfunctions")
LOOKS = (
    "DescribeInstances", "DescribeVolumes", "DescribeNetworkInterfaces", "DescribeAddresses", "DescribeNatGateways",
    "DescribeSnapshots",
)  # fmt: skip
EFFECTS = ("refused", "throttled", "hanging")
# What a run ends as when the net's own verdict could not be reached: the fault is told as what it was.
TOLD = ("PermissionMissing", "AwsUnavailable", "InternalError", "CleanupIncomplete")
RIGHT: dict[str, tuple[str, ...]] = {
    "catch": ("HeartbeatLost", *TOLD),
    "rule": ("Aborted",),
    "dead man": ("ExecutionTimedOut",),
    "drain": ("Aborted", "StackClosing"),
}
NAMES = {"catch": "catch paths", "rule": "status-change rule", "dead man": "dead-man schedule", "drain": "drain"}


def nets() -> list[Case]:
    """Return each net alone, the other three disabled."""
    why = "this net alone has to empty the inventory"
    return [
        Case("net catch paths alone", "net", ("HeartbeatLost",), why, {"net": "catch"}),
        Case("net status-change rule alone", "net", ("Aborted",), why, {"net": "rule"}),
        Case("net dead-man schedule alone", "net", ("ExecutionTimedOut",), why, {"net": "dead man"}),
        # The workflow, which nobody told, is stopped once the machine has gone.
        Case("net machine alone", "net", ("Aborted",), why, {"net": "machine"}),
    ]


def outages() -> list[Case]:
    """Return every net with every service and look down in every way; the drain, which takes long, in one way each."""
    cases = [
        _case(net, what, effect) for net in ("catch", "rule", "dead man") for what in subjects() for effect in EFFECTS
    ]
    effects = list(EFFECTS)
    random.Random(SEED).shuffle(effects)  # noqa: S311 - to be repeated, not to be secret
    return cases + [_case("drain", what, effect) for what, effect in zip(subjects(), cycle(effects), strict=False)]


def subjects() -> list[str]:
    """Return what can be down: a service, or one of EC2's looks."""
    return [*SERVICES, *LOOKS]


def _case(net: str, what: str, effect: str) -> Case:
    why = "the machine is ended while the service is down, and the rest is done when it is back"
    fault = {"net": net, "down": what, "rule": rule(what, effect)}
    return Case(f"outage {NAMES[net]} alone, {what} {effect}", "outage", RIGHT[net], why, fault)


def rule(what: str, effect: str) -> dict[str, Any]:
    """Return the rule of microburst by which a service, or one look of EC2, is down for all functions."""
    where = {"service": "ec2", "operation": what} if what in LOOKS else {"service": what}
    refusal, throttle = CODES.get(where["service"], OTHER_CODES)
    slow = 503 if where["service"] in CODES else 400
    effects: dict[str, dict[str, Any]] = {
        "refused": {"error": {"code": refusal, "status": 403}},
        "throttled": {"error": {"code": throttle, "status": slow}},
        "hanging": HANGING,
    }
    return {**where, **effects[effect]}
