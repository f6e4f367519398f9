"""The stack deleted, updated and rolled back while a run is under way. Pure; runs on a person's machine."""

from chaos.cases import SUCCEEDED, Case


def stack() -> list[Case]:
    """Return the deletion of the stack in the middle of a run; what was in the cloud is deployed anew afterwards."""
    why = "deleting the stack stops its runs and cleans up behind them first"
    return [Case("stack deleted in training", "stack", ("Aborted",), why, {"start": "destroy"})]


def versions() -> list[Case]:
    """Return an update and a rollback in the middle of a run; tests/statemachine has them in each state."""
    why = "what one release wrote, the other one reads"
    return [
        Case(f"versions {what} in training", "versions", (SUCCEEDED,), why, {"do": what})
        for what in ("update", "rollback")
    ]
