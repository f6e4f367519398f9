"""How long a run may go on asking for capacity, and what is told of its rounds. Runs in Lambda and in the CLI; pure."""

import re

from lambdas.core.acceptance import SECONDS_PER_MINUTE, iso
from lambdas.core.ladder import Answer, may_change
from lambdas.core.records import RunRecord

# Between two rounds of the ladder: the state WaitForCapacity of statemachine/training.asl.json.
ROUND_SECONDS = 60
_AGAIN = re.compile(r", again (\d+) times, last [0-9TZ:-]+$")


class NoCapacityYet(Exception):
    """No rung had capacity and the run may ask again: no verdict, the state machine waits and repeats the launch."""


def waits_until(record: RunRecord) -> int:
    """Return when the attempt stops asking for capacity, in epoch seconds; never after the run's own deadline."""
    # A run that was accepted before there was a wait has none.
    minutes = float(record.request.get("capacity_wait_minutes", 0))
    return min(record.capacity_since + round(minutes * SECONDS_PER_MINUTE), record.deadline_at)


def again_at(record: RunRecord, log: list[Answer], now: int) -> int:
    """Return when to ask the ladder again, in epoch seconds, 0 when there is no use or no time for it."""
    due = now + ROUND_SECONDS
    return due if may_change(log) and due < waits_until(record) else 0


def notice(record: RunRecord, log: list[Answer], due: int) -> str:
    """Return what the state machine shows of a run that waits; its first sentence is for people who watch."""
    tried = "; ".join(f"{answer.rung}: {answer.said}" for answer in log)
    return f"No capacity yet, asks again at {iso(due)}, until {iso(waits_until(record))}. Tried {tried}."


def waited(record: RunRecord, rounds: int, now: int) -> str:
    """Return a sentence on the rounds of an attempt that gives up, "" after a single one."""
    if rounds == 1:
        return ""
    minutes = (now - record.capacity_since) / SECONDS_PER_MINUTE
    return (
        f"Asked {rounds} times in {minutes:.0f} minutes, from {iso(record.capacity_since)} to {iso(now)} "
        f"(capacity_wait_minutes {record.request['capacity_wait_minutes']:g}). "
    )


def logged(lines: tuple[str, ...], log: list[Answer]) -> tuple[str, ...]:
    """Return a record's lines with the answers of a walk: an answer that a rung gave before is counted in its line.

    So the log of a whole day names every rung with every different answer, and still fits into the record.
    """
    kept = list(lines)
    for answer in log:
        said = f" {answer.rung}: {answer.said} ("
        known = next((n for n, line in enumerate(kept) if said in line), None)
        if known is None:
            kept.append(f"{iso(answer.at)}{said}{answer.seconds:.1f} s)")
        else:
            kept[known] = _again(kept[known], answer.at)
    return tuple(kept)


def _again(line: str, at: int) -> str:
    counted = _AGAIN.search(line)
    times = int(counted[1]) + 1 if counted else 1
    return f"{_AGAIN.sub('', line)}, again {times} times, last {iso(at)}"
