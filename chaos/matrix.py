"""Every case of the matrix, and samples of it. Pure; runs on a person's machine."""

import random
from collections.abc import Iterable, Sequence

from chaos.cases import Case, Known, around
from chaos.machine_cases import machine

# Kinds of cases that break a call, not a machine in the middle of its work.
QUICK = ("aws", "task")


def matrix(known: Iterable[Known]) -> list[Case]:
    """Return every case, given each (caller, service, operation) of a clean run; those that take long come first.

    So none of them is alone at the end, with the other workers idle.
    """
    return sorted(machine() + around(known), key=lambda case: case.kind in QUICK)


def sample(cases: Sequence[Case], count: int, seed: int) -> list[Case]:
    """Return `count` of the cases, one of each kind first; the same ones for the same seed."""
    shuffled = list(cases)
    random.Random(seed).shuffle(shuffled)  # noqa: S311 - to be repeated, not to be secret
    first = {case.kind: case for case in reversed(shuffled)}
    one_each = list(first.values())
    return (one_each + [case for case in shuffled if case not in one_each])[:count]
