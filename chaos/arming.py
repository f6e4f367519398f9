"""Orders what goes wrong before a run begins, one thing or several, and tells which of them met it. In a worker."""

from collections.abc import Callable
from functools import partial
from typing import Any

from chaos.arena import Arena
from chaos.cases import Case, faults_of
from local.aws_faults import AwsFaults

Met = Callable[[], bool]


def arm(arena: Arena, *cases: Case) -> list[Met]:
    """Put the faults of the cases in place; returns, for each, what tells whether it met the run."""
    rules: dict[AwsFaults, list[dict[str, Any]]] = {arena.aws: [], arena.machine: []}
    files: dict[str, dict[str, Any]] = {"tasks": {}, "functions": {}, "events": {}, "capacity": {}}
    met = [_add(arena, case, rules, files) for case in cases]
    for proxy, ordered in rules.items():
        proxy.set(*ordered)
    arena.faults.set_tasks(files["tasks"])
    arena.faults.set_functions(files["functions"])
    arena.faults.set_events(files["events"])
    arena.faults.set_capacity(files["capacity"])
    return met


def _add(
    arena: Arena, case: Case, rules: dict[AwsFaults, list[dict[str, Any]]], files: dict[str, dict[str, Any]]
) -> Met:
    if case.kind == "aws":
        caller, rule = case.fault["caller"], dict(case.fault["rule"])
        proxy = arena.machine if caller == "instance" else arena.aws
        if caller != "instance":
            rule["headers"] = {"User-Agent": f"app/{caller.partition(':')[2]}"}
        rules[proxy].append(rule)
        return partial(_met_rule, proxy, len(rules[proxy]) - 1)
    ordered = faults_of(case)
    for file, faults in ordered.items():
        files[file].update(faults)
    return partial(_met_all, arena, ordered)


def _met_rule(proxy: AwsFaults, place: int) -> bool:
    counts = proxy.counts()
    return place < len(counts) and counts[place] > 0


def _met_all(arena: Arena, ordered: dict[str, dict[str, Any]]) -> bool:
    return all(
        arena.faults.times_met(file, name) >= (fault["times"] if file == "functions" else 1)
        for file, faults in ordered.items()
        for name, fault in faults.items()
    )
