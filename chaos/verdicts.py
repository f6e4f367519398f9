"""What a case left behind and whether it passed. Pure; runs on a person's machine."""

from dataclasses import dataclass, field
from typing import Any

from chaos.cases import SUCCEEDED, Case
from contracts.reasons import REASONS
from lambdas.core.verdict import COMPLETED, ENDED

# A run ends its machine within seconds here; cleanup's own patience and its rounds are the rest.
EMPTY_WITHIN_SECONDS = 240.0
# An upload that starts no run gets a note beside it.
NOTED = "Noted"


@dataclass
class Outcome:
    """What was seen of a case.

    Parameters
    ----------
    status, reason : str
        Of the execution; the reason of a stopped one is on record: a code, or `completed` when it was stopped too late.
    recorded : str
        What the run's record says that it ended as, a code or `completed`; "" when it has no verdict.
    empty_seconds : float or None
        From the end of the execution to the empty inventory; None when it never was empty.
    leftovers : list of str
        What was there when waiting ended.
    lost : list of str
        Objects that were uploaded before the fault and are gone.
    fired : bool
        Whether the fault met the run.
    machine_seconds : float or None
        From a net's event to the machine's end, where that was measured.
    problem : str
        What could not be seen, and why.
    """

    status: str = ""
    reason: str = ""
    cause: str = ""
    recorded: str = ""
    empty_seconds: float | None = None
    leftovers: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    fired: bool = True
    machine_seconds: float | None = None
    problem: str = ""


def failures(case: Case, outcome: Outcome) -> list[str]:
    """Return what a case failed by, a sentence each; nothing when it passed."""
    found = [outcome.problem] if outcome.problem else []
    found += [f"left behind: {', '.join(outcome.leftovers)}"] if outcome.leftovers else []
    found += [f"uploaded and gone: {', '.join(outcome.lost)}"] if outcome.lost else []
    if wrong := wrong_verdict(case, outcome):
        found.append(wrong)
    if outcome.empty_seconds is not None and outcome.empty_seconds > EMPTY_WITHIN_SECONDS:
        found.append(f"empty after {outcome.empty_seconds:.0f} s, expected within {EMPTY_WITHIN_SECONDS:.0f} s")
    if not outcome.fired:
        found.append("the fault never met the run: the case proves nothing")
    return found


def wrong_verdict(case: Case, outcome: Outcome) -> str:
    """Return in what a case's verdict is wrong, in a sentence; nothing when it is right or was not seen."""
    if outcome.problem:
        return ""
    good = outcome.status == SUCCEEDED or (outcome.status == "ABORTED" and outcome.reason == COMPLETED)
    verdict = SUCCEEDED if good else outcome.reason
    said = f"{outcome.status} {outcome.reason}".strip()
    if not good and outcome.reason not in (*REASONS, NOTED):
        return f"{said}: expected a reason code"
    if verdict not in case.verdicts:
        return f"{said}: expected {' or '.join(case.verdicts)}, since {case.why}"
    if outcome.recorded and not _agrees(verdict, outcome.recorded):
        return f"{said}: the run's record says {outcome.recorded}"
    return ""


def _agrees(verdict: str, recorded: str) -> bool:
    """Whether execution and record tell the same; a redrive of a run that has ended says that it had."""
    if verdict == ENDED:
        return recorded not in (ENDED, COMPLETED)
    return recorded == (COMPLETED if verdict == SUCCEEDED else verdict)


def row(case: Case, outcome: Outcome, seconds: float) -> dict[str, Any]:
    """Return a case's line of build/chaos.json."""
    return {
        "case": case.name,
        "kind": case.kind,
        "status": outcome.status,
        "reason": outcome.reason,
        "empty_seconds": outcome.empty_seconds,
        "machine_seconds": outcome.machine_seconds,
        "net": case.fault.get("net", ""),
        "down": case.fault.get("down", ""),
        "leftovers": outcome.leftovers,
        "wrong_verdict": bool(wrong_verdict(case, outcome)),
        "failures": failures(case, outcome),
        "cause": outcome.cause[:400],
        "seconds": round(seconds, 1),
    }
