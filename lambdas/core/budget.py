"""What a month's runs have cost or may still cost, as one item of the runs table. Runs in Lambda; pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from lambdas.core.records import RunRecord, usd


@dataclass(frozen=True)
class Month:
    """The committed money of a calendar month in UTC; a run belongs to the month in its run id, whenever it ends.

    Ended runs are one sum and only the others are listed, so the item's size follows the runs that go on at once.
    `version` counts every change, 0 while there is no item.
    """

    month: str
    version: int = 0
    ended_usd: float = 0.0
    reserved_usd: dict[str, float] = field(default_factory=dict)

    @property
    def committed_usd(self) -> float:
        """What ended runs have cost, and the estimates of those that have not ended."""
        return self.ended_usd + sum(self.reserved_usd.values())

    def with_run(self, record: RunRecord) -> "Month":
        """Return the next version, in which the estimate of `record` is reserved."""
        reserved = {**self.reserved_usd, record.run_id: record.estimate_usd}
        return replace(self, version=self.version + 1, reserved_usd=reserved)

    def to_item(self) -> dict[str, Any]:
        """Return the month as a DynamoDB item."""
        return {
            "id": month_key(self.month),
            "version": self.version,
            "ended_usd": usd(self.ended_usd),
            "reserved_usd": {run_id: usd(value) for run_id, value in self.reserved_usd.items()},
        }


def month_of(run_id: str) -> str:
    """Return the month of a run: `202611`."""
    return run_id[:6]


def month_key(month: str) -> str:
    """Return the key of a month's item."""
    return f"month#{month}"


def from_item(month: str, item: dict[str, Any]) -> Month:
    """Return the month that a DynamoDB item holds."""
    reserved = {run_id: float(value) for run_id, value in item["reserved_usd"].items()}
    return Month(month, int(item["version"]), float(item["ended_usd"]), reserved)


def from_records(month: str, records: Iterable[RunRecord]) -> Month:
    """Return a month that has no item yet, from the records of its runs."""
    listed = list(records)
    return Month(
        month,
        ended_usd=sum(r.cost_usd for r in listed if r.ended_at),
        reserved_usd={r.run_id: r.estimate_usd for r in listed if not r.ended_at},
    )
