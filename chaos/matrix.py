"""Every case of the matrix, and samples of it. Pure; runs on a person's machine."""

import random
from collections.abc import Iterable, Sequence

from chaos.cases import Case, Known, around
from chaos.machine_cases import machine

# Kinds of cases that break a call, not a machine in the middle of its work.
QUICK = ("aws", "task")
QUICK_BETWEEN = 3
ORDER = 1


def matrix(known: Iterable[Known]) -> list[Case]:
    """Return every case, given each (caller, service, operation) of a clean run, in an order that keeps the cores busy.

    Neighbours wait for the same things, so they are apart; a case that takes long has quick ones after it, and none of
    them is alone at the end. The order is the same each time.
    """
    cases = machine() + around(known)
    random.Random(ORDER).shuffle(cases)  # noqa: S311 - to be repeated, not to be secret
    slow = [case for case in cases if case.kind not in QUICK]
    quick = [case for case in cases if case.kind in QUICK]
    for place, case in enumerate(slow):
        quick.insert(place * (QUICK_BETWEEN + 1), case)
    return quick


def sample(cases: Sequence[Case], count: int, seed: int) -> list[Case]:
    """Return `count` of the cases, one of each kind first; the same ones for the same seed."""
    shuffled = list(cases)
    random.Random(seed).shuffle(shuffled)  # noqa: S311 - to be repeated, not to be secret
    first = {case.kind: case for case in reversed(shuffled)}
    one_each = list(first.values())
    return (one_each + [case for case in shuffled if case not in one_each])[:count]
