"""What a run has cost, from its recorded timeline and its execution's history. Runs in Lambda and in the CLI; pure."""

from contracts.documents import Document
from contracts.prices import Cost, instance_usd_per_hour, machine_cost, prices, request_cost
from lambdas.core.path import Path
from lambdas.core.records import Attempt, RunRecord

DIGITS = 6
FROM_LAUNCH, FROM_LIST = "launch", "price_list"


def actual_cost(record: RunRecord, path: Path, now: int) -> Cost:
    """Return the cost of all attempts of `record` so far, and of what its execution did, USD."""
    total = request_cost(reports(record), path.transitions, path.tasks, path.function_seconds)
    for attempt in priced(record):
        seconds = (attempt.ended_at or now) - attempt.launched_at
        total += machine_cost(attempt.instance_type, attempt.market, seconds, attempt.spot_usd_per_hour)
    return total


def priced(record: RunRecord) -> list[Attempt]:
    """Return the attempts whose instance type has a price: an entry that nobody can read costs a run no verdict."""
    return [a for a in record.attempts if a.instance_type in prices()["instance_usd_per_hour"]]


def instance_price(attempt: Attempt) -> Document:
    """Return what an hour of an attempt's instance was counted with, USD, and whether launch or list said so."""
    usd, source = attempt.spot_usd_per_hour, FROM_LAUNCH
    if usd is None:
        usd, source = instance_usd_per_hour(attempt.instance_type, attempt.market), FROM_LIST
    return {"instance_id": attempt.instance_id, "usd_per_hour": usd, "price_from": source}


def reports(record: RunRecord) -> int:
    """Return how often the machines of a run wrote their state: the newest `seq` that was taken in, of each attempt."""
    return record.earlier_reports + record.seq


def breakdown(record: RunRecord, path: Path, cost: Cost) -> Document:
    """Return the parts of a cost, and the counts that they were made from, as the record keeps them."""
    parts = {name: round(value, DIGITS) for name, value in cost.parts().items()}
    return {
        **parts,
        "instance_prices": [instance_price(attempt) for attempt in priced(record)],
        "transitions": path.transitions,
        "transitions_from": "history" if path.counted else "assumed",
        "reports": reports(record),
        "function_calls": path.tasks + reports(record),
        "function_seconds": round(path.function_seconds, 1),
        "prices_as_of": prices()["as_of"],
    }
