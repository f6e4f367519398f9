"""Two things wrong with one run, drawn by seed: `make chaos PAIRS=200`. Pure; runs on a person's machine."""

import random
from collections.abc import Sequence
from itertools import chain

from chaos.cases import ELSEWHERE, LASTING, SUCCEEDED, Case, faults_of

KINDS = ("aws", "task", "events", "capacity", "killed", "late", "machine")
PHASES = ("boot", "preflight", "training")
ACTS = ("killed", "stopped", "hung", "interrupted")
TRIES = 100
# What a caller's calls fail with when two faults take more tries than it has.
TWICE = ("AwsUnavailable", "PermissionMissing", "InternalError")


def pairs(cases: Sequence[Case], count: int, seed: int) -> list[Case]:
    """Return `count` pairs of the cases that can go together, the same ones for the same seed; no pair comes twice."""
    able = [case for case in cases if can_pair(case)]
    by_kind = {kind: [case for case in able if case.kind == kind] for kind in KINDS}
    kinds = [kind for kind in KINDS if by_kind[kind]]
    draw = random.Random(seed)  # noqa: S311 - to be repeated, not to be secret
    found: dict[str, Case] = {}
    for _ in range(count * TRIES):
        if len(found) == count:
            break
        first, second = (draw.choice(by_kind[draw.choice(kinds)]) for _ in range(2))
        if fit(first, second):
            pair = _pair(*sorted((first, second), key=lambda case: case.name))
            found.setdefault(pair.name, pair)
    return list(found.values())


def can_pair(case: Case) -> bool:
    """Whether a fault leaves room for another one: it waits for nothing but the run's beginning or its machine."""
    fault = case.fault
    if case.kind == "machine":
        return fault.get("do") in ACTS and fault.get("phase") in PHASES and not fault.get("every")
    return case.kind in KINDS and not any(fault.get(more) for more in ("start", "after_a_run", "machine", "request"))


def fit(first: Case, second: Case) -> bool:
    """Whether two faults do not take each other's place."""
    if first.name == second.name or first.kind == second.kind == "machine":
        return False
    ours, theirs = (set(chain.from_iterable(faults_of(case).values())) for case in (first, second))
    return not ours & theirs


def _pair(first: Case, second: Case) -> Case:
    why = f"either fault may be the one that is told: {first.why}; {second.why}"
    return Case(f"pair {first.name} + {second.name}", "pair", right(first, second), why, {"pair": (first, second)})


def right(first: Case, second: Case) -> tuple[str, ...]:
    """Return the verdicts that are right for a pair: those of either fault, and success when both pass."""
    told = {code for case in (first, second) for code in case.verdicts if code != SUCCEEDED}
    if SUCCEEDED in first.verdicts and SUCCEEDED in second.verdicts:
        told.add(SUCCEEDED)
    ours, theirs = caller(first), caller(second)
    if ours and ours == theirs:
        told |= {*TWICE, *LASTING.values(), *ELSEWHERE.get(f"lambda:{ours}", ())}
    return tuple(sorted(told))


def caller(case: Case) -> str:
    """Return the function whose calls or invocations a fault befalls, "" for none."""
    if case.kind == "aws":
        return str(case.fault["caller"]).rpartition(":")[2]
    ordered = faults_of(case)
    named = [name for file in ("tasks", "functions") for name in ordered.get(file, {})]
    return named[0] if named else ""
