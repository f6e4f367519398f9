"""Every case of the matrix, and samples of it. Pure; runs on a person's machine."""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from chaos.cases import Case, Known, calls, capacity, events, people, tasks
from chaos.function_cases import again, killed, late, part
from chaos.machine_cases import machine
from chaos.net_cases import nets, outages
from chaos.stack_cases import stack, versions

# Kinds of cases that break a call, not a machine in the middle of its work.
QUICK = ("aws", "task")
QUICK_BETWEEN = 3
ORDER = 1
# Calls of which a part is enough here, since the stack is deployed anew for each; tests/statemachine has all of them.
RARE, RARE_PART = "lambda:DrainStack", 10


@dataclass
class Recorded:
    """What clean runs did.

    Parameters
    ----------
    calls : set of tuple
        Each (caller, service, operation).
    invocations : dict
        By function, the calls of its longest invocation.
    """

    calls: set[Known] = field(default_factory=set)
    invocations: dict[str, list[str]] = field(default_factory=dict)


def joined(parts: Iterable[Recorded]) -> Recorded:
    """Return what several clean runs did."""
    whole = Recorded()
    for one in parts:
        whole.calls |= one.calls
        for function, made in one.invocations.items():
            whole.invocations[function] = max(whole.invocations.get(function, []), made, key=len)
    return whole


def matrix(recorded: Recorded) -> list[Case]:
    """Return every case, given what clean runs did, in an order that keeps the cores busy.

    Neighbours wait for the same things, so they are apart; a case that takes long has quick ones after it, and none of
    them is alone at the end. The order is the same each time.
    """
    cases = machine() + around(recorded.calls) + _functions(recorded.invocations) + nets() + outages()
    cases += stack() + versions()
    random.Random(ORDER).shuffle(cases)  # noqa: S311 - to be repeated, not to be secret
    slow = [case for case in cases if case.kind not in QUICK]
    quick = [case for case in cases if case.kind in QUICK]
    for place, case in enumerate(slow):
        quick.insert(place * (QUICK_BETWEEN + 1), case)
    return quick


def around(known: Iterable[Known]) -> list[Case]:
    """Return the cases of calls, events, people and capacity, given each call of clean runs."""
    cases: list[Case] = []
    rare: list[Case] = []
    for caller, service, operation in sorted(set(known)):
        if caller.startswith("states:"):
            cases += tasks(caller.partition(":")[2])
        elif caller == RARE:
            rare += calls(caller, service, operation)
        elif caller != "other":
            cases += calls(caller, service, operation)
    draw = random.Random(ORDER)  # noqa: S311
    return cases + draw.sample(rare, -(-len(rare) // RARE_PART)) + events() + people() + capacity()


def _functions(invocations: Mapping[str, Sequence[str]]) -> list[Case]:
    return part(killed(invocations)) + late(invocations) + again()


def sample(cases: Sequence[Case], count: int, seed: int) -> list[Case]:
    """Return `count` of the cases, one of each kind first; the same ones for the same seed."""
    shuffled = list(cases)
    random.Random(seed).shuffle(shuffled)  # noqa: S311 - to be repeated, not to be secret
    first = {case.kind: case for case in reversed(shuffled)}
    one_each = list(first.values())
    return (one_each + [case for case in shuffled if case not in one_each])[:count]
