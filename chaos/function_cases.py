"""What befalls functions: ended at a call, invoked late, tried again. Pure; runs on a person's machine."""

import random
from collections import Counter
from collections.abc import Mapping, Sequence

from chaos.cases import SUCCEEDED, Case

STATES = ("AcceptRun", "LaunchInstance", "AwaitTraining", "CollectOutcome", "Cleanup", "RecordRun")
# The functions of events, with what a run needs for the event to come.
EVENTS = {
    "ObserveState": "",
    "ObserveInstance": "",
    "SweepRun": "abort",
    "StartFromUpload": "upload",
    "DrainStack": "destroy",
}
# How Step Functions hears of a process that is gone: by the name that Lambda gives it, or by none that it knows.
NAMES = ("Runtime.ExitError", "Lambda.Unknown")
LOST = "Lambda.SdkClientException"
LATE_SECONDS, PAUSE_SECONDS = 3.0, 6.0
# A part of the deaths is seen here; tests/statemachine has each of them.
PART, SEED = 10, 4
# Of each function, the calls of its longest invocation in a clean run.
Invocations = Mapping[str, Sequence[str]]


def killed(invocations: Invocations) -> list[Case]:
    """Return the death of each function's process after each of its calls, under both names."""
    return [
        Case(
            f"killed {function} after {_said(place)} as {name}",
            "killed",
            *_passes(function),
            {"start": EVENTS.get(function, ""), "functions": {function: {**place, "times": 1, "as": name}}},
        )
        for function, calls in sorted(invocations.items())
        for place in places(calls)
        for name in NAMES
    ]


def places(calls: Sequence[str]) -> list[dict[str, object]]:
    """Return the calls of an invocation after which it can be met in every run: the first two of each operation.

    How often it asks for the rest depends on how long things take.
    """
    count = Counter(calls)
    return [
        {"call": call, "after": number} for call in dict.fromkeys(calls) for number in range(1, min(count[call], 2) + 1)
    ]


def _said(place: Mapping[str, object]) -> str:
    return f"its {'first' if place['after'] == 1 else 'second'} {place['call']}"


def part(cases: Sequence[Case]) -> list[Case]:
    """Return a seeded tenth of the deaths, some of every function; an embedded cloud takes long for each."""
    chosen: list[Case] = []
    for function in sorted({_function(case) for case in cases}):
        own = [case for case in cases if _function(case) == function]
        chosen += random.Random(f"{SEED} {function}").sample(own, -(-len(own) // PART))  # noqa: S311
    return chosen


def late(invocations: Invocations) -> list[Case]:
    """Return first invocations that are given up and then run: after their repetition, beside it, or half of them."""
    cases = []
    for state in STATES:
        for what, seconds in (("after its retry", LATE_SECONDS), ("beside its retry", 0.0)):
            tasks = {state: {"error": LOST, "times": 1, "late": seconds}}
            cases.append(_late(f"{state} {what}", state, {"tasks": tasks}))
        if calls := invocations.get(state):
            place = random.Random(f"{SEED} {state}").choice(places(calls))  # noqa: S311
            frozen = {
                "tasks": {state: {"error": LOST, "times": 1, "late": 0.0}},
                "functions": {state: {**place, "pause": PAUSE_SECONDS, "times": 1}},
            }
            cases.append(_late(f"{state} frozen after {_said(place)}", state, frozen))
    for function in EVENTS:
        cases.append(
            _late(
                f"{function} after its repetition",
                function,
                {"functions": {function: {"late": LATE_SECONDS, "times": 1}}},
            )
        )
    return cases  # fmt: skip


def again() -> list[Case]:
    """Return events whose function fails: twice, and then it does its work; or for good."""
    cases = []
    for function, start in EVENTS.items():
        twice = {"start": start, "functions": {function: {"after": 1, "times": 2}}}
        cases.append(Case(f"async {function} fails twice", "async", *_passes(function), twice))
    sweep = {"functions": {"SweepRun": {"after": 1, "times": 3}}}
    why = "an event that was given up is armed again as a schedule, which comes once the fault is over"
    hung = "silence is found out, and a new attempt goes on"
    cases += [
        Case("async SweepRun fails for good after an abort", "async", ("Aborted",), why,
             {**sweep, "start": "abort", "alone": True, "destination": "RearmSweep"}),
        Case("async SweepRun fails for good when the dead man calls", "async", ("ExecutionTimedOut",), why,
             {**sweep, "start": "dead man", "alone": True, "destination": "RearmSweep"}),
        Case("async ObserveState fails for good once", "async", (SUCCEEDED,), "the next report says more",
             {"functions": {"ObserveState": {"after": 1, "times": 3}}}),
        Case("async ObserveInstance fails for good", "async", (SUCCEEDED,), hung,
             {"start": "kill", "functions": {"ObserveInstance": {"after": 0, "times": 3}}}),
        Case("async StartFromUpload fails for good", "async", ("Noted",), "an upload starts a run or gets a note",
             {"start": "upload", "functions": {"StartFromUpload": {"after": 0, "times": 3}}}),
    ]  # fmt: skip
    return cases


def _late(name: str, function: str, fault: Mapping[str, object]) -> Case:
    start = {"start": EVENTS.get(function, ""), "long": True}
    return Case(f"late {name}", "late", *_passes(function), {**start, **fault})


def _passes(function: str) -> tuple[tuple[str, ...], str]:
    if EVENTS.get(function) in ("abort", "destroy"):
        return ("Aborted",), "a run that was stopped has that as its verdict, whoever writes it"
    return (SUCCEEDED,), "what is done twice, or in two parts, is done once"


def _function(case: Case) -> str:
    return str(next(iter(case.fault["functions"])))
