"""The runs table: every write conditional, so that late and double callers change nothing. Runs in Lambda."""

import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any, cast

from boto3.dynamodb.conditions import Attr, ConditionBase, ConditionExpressionBuilder
from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from botocore.exceptions import ClientError

from contracts.reasons import StackClosing
from lambdas.adapters.clients import PATIENT, Pace, client, error_code
from lambdas.core import budget
from lambdas.core.budget import Month
from lambdas.core.records import BOOT, TRAINING, RunRecord, from_item, to_attributes, usd

BY_TIME = "by-time"
_EXECUTION = "execution#"
# Whether the stack is being deleted; see `RunsTable.close_stack`.
_STACK = "stack#closed"
_REFUSED = "ConditionalCheckFailed"
# A record of another release may lack what it has not reached.
_OPEN = Attr("closed_at").not_exists() | Attr("closed_at").eq(0)
_NO_VERDICT = Attr("ended_at").not_exists() | Attr("ended_at").eq(0)
# A transaction that meets another one on the same item is cancelled and not repeated by boto3:
# https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html
_CROWDED = ("TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded")
# A plain write that meets a transaction on its item is refused, not repeated by boto3 either, and changed nothing:
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis.html
_CONFLICT = "TransactionConflictException"
PAUSES_SECONDS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)


class Superseded(Exception):
    """The record has moved on: another attempt, a later report or the end of the run came first."""


class MonthMoved(Exception):
    """Another run of the month was registered or ended since the month was read: read it again."""


class RunsTable:
    """Records by run id, run ids by execution, and what each month has committed."""

    def __init__(self, name: str, pace: Pace = PATIENT) -> None:
        self._name = name
        self._pace = pace

    def _dynamodb(self) -> Any:
        return client("dynamodb", *self._pace)

    def load(self, run_id: str) -> RunRecord | None:
        """Return the newest record of a run, or None."""
        item = self._get(run_id)
        return from_item(item) if item else None

    def of_execution(self, execution_arn: str) -> RunRecord | None:
        """Return the record that an execution registered, or None."""
        item = self._get(_EXECUTION + execution_arn)
        return self.load(item["run_id"]) if item else None

    def month(self, month: str) -> Month:
        """Return what a month (`202611`) has committed, as of now."""
        item = self._get(budget.month_key(month))
        # Before its first run, or after an update of a stack that did not keep months, there is none yet.
        return budget.from_item(month, item) if item else budget.from_records(month, self.since(month))

    def run_id_of(self, execution_arn: str) -> str:
        """Return the run id that an execution registered, "" for none."""
        item = self._get(_EXECUTION + execution_arn)
        return str(item["run_id"]) if item else ""

    def register(self, record: RunRecord, month: Month, replaced: str = "") -> bool:
        """Put a new record, its execution's pointer and the next version of its month: all or nothing.

        `replaced` is the run to which an earlier execution of the same name points, which AWS has forgotten since.
        Returns False when the run id or the execution is taken. Raises MonthMoved when `month` is not the newest or is
        being written just now, StackClosing once `close_stack` was called.
        """
        pointer = {"id": _EXECUTION + record.execution_arn, "run_id": record.run_id}
        absent = Attr("id").not_exists()
        unmoved = Attr("version").eq(month.version) if month.version else absent
        try:
            answers = self._transact(
                self._put(record.to_item(), absent),
                self._put(pointer, Attr("run_id").eq(replaced) if replaced else absent),
                self._put(month.with_run(record).to_item(), unmoved),
                self.while_open(),
            )
        except ClientError as error:
            if _crowded(error):
                raise MonthMoved(month.month) from error
            raise
        if answers[3] == _REFUSED:
            raise StackClosing("Nothing was launched.")
        if answers[2] == _REFUSED:
            raise MonthMoved(month.month)
        return _REFUSED not in answers

    def begin_stage(self, record: RunRecord, changes: dict[str, Any]) -> RunRecord:
        """Write the token of a waiting state. Raises Superseded when the run has ended or is further on already.

        An invocation that the state machine gave up may come after its own retry, minutes later: the token of the
        newest try stays, see `fence_of`.
        """
        attempt, fence = changes.get("attempt", record.attempt), changes.get("fence", 0)
        reached: ConditionBase = Attr("attempt").lte(attempt)
        if changes["stage"] == BOOT:
            # A late second call of LaunchInstance must not take the token of the state that waits now.
            reached &= Attr("attempt").ne(attempt) | Attr("stage").ne(TRAINING)
        if fence:
            repeated = Attr("fence").eq(fence) & Attr("task_token").eq(changes["task_token"])
            reached &= Attr("fence").not_exists() | Attr("fence").lt(fence) | repeated
        return self._update(record, changes, _OPEN & reached)

    def claim_rung(self, record: RunRecord, changes: dict[str, Any]) -> RunRecord:
        """Write what EC2 is asked for next.

        Raises
        ------
        Superseded
            When the run has ended or another call took over.
        StackClosing
            Once the stack is being deleted: nothing may be launched any more.
        """
        of_record = {"Update": self._change(record.run_id, changes, self._mine(record))}
        answers = self._transact(of_record, self.while_open())
        if answers[0] == _REFUSED:
            raise Superseded(record.run_id)
        if answers[1] == _REFUSED:
            raise StackClosing("No instance was launched.")
        return replace(record, **changes)

    def note_launch(self, record: RunRecord, changes: dict[str, Any]) -> RunRecord:
        """Write what came of a launch. Raises Superseded when the run has ended or another call took over."""
        return self._update(record, changes, self._mine(record))

    @staticmethod
    def _mine(record: RunRecord) -> ConditionBase:
        """Return the condition that the run goes on and waits for the token that `record` holds."""
        of_token = Attr("attempt").eq(record.attempt) & Attr("task_token").eq(record.task_token)
        return _OPEN & of_token

    def note_attempt(self, record: RunRecord, changes: dict[str, Any]) -> RunRecord:
        """Write what happened to the current attempt. Raises Superseded when it, or the run, is over."""
        return self._update(record, changes, _OPEN & Attr("attempt").eq(record.attempt))

    def advance(self, record: RunRecord, changes: dict[str, Any]) -> RunRecord:
        """Write what a report says. Raises Superseded unless its `seq` is above the recorded one of this attempt."""
        newer = Attr("attempt").eq(record.attempt) & Attr("seq").lt(changes["seq"])
        return self._update(record, changes, newer)

    def note(self, record: RunRecord, changes: dict[str, Any]) -> RunRecord:
        """Write facts that are true whatever else happens. Raises Superseded only when the record is gone."""
        return self._update(record, changes, Attr("id").exists())

    def close(self, record: RunRecord, changes: dict[str, Any]) -> RunRecord:
        """End the run once: from then on nothing may launch for it. Raises Superseded when it was ended before."""
        return self._update(record, changes, _OPEN)

    def finish(self, record: RunRecord, changes: dict[str, Any]) -> RunRecord:
        """Write the verdict once, its cost in place of the estimate. Raises Superseded when there is one already."""
        return self._account(record, changes, _NO_VERDICT, changes["cost_usd"])

    def recost(self, record: RunRecord, changes: dict[str, Any]) -> RunRecord:
        """Correct the cost of a run that has its verdict. Raises Superseded when it is not what `record` says."""
        unchanged = Attr("cost_usd").eq(usd(record.cost_usd))
        return self._account(record, changes, unchanged, changes["cost_usd"] - record.cost_usd)

    def since(self, run_id_prefix: str) -> list[RunRecord]:
        """Return the records whose run id begins with `run_id_prefix` (`202611` is a month), newest first."""
        return list(self._by_time("kind = :run AND begins_with(run_id, :prefix)", {":prefix": {"S": run_id_prefix}}))

    def newest(self, limit: int) -> list[RunRecord]:
        """Return the newest `limit` records, however many pages of 1 MB they fill."""
        return list(islice(self._by_time("kind = :run", {}), limit))

    def _by_time(self, condition: str, values: dict[str, Any]) -> Iterator[RunRecord]:
        """Yield records newest first; a page is asked for when the one before is used up."""
        pages = (
            self._dynamodb()
            .get_paginator("query")
            .paginate(
                TableName=self._name,
                IndexName=BY_TIME,
                KeyConditionExpression=condition,
                ExpressionAttributeValues={":run": {"S": "run"}, **values},
                ScanIndexForward=False,
            )
        )
        return (from_item(_deserialized(item)) for page in pages for item in page["Items"])

    def _get(self, key: str) -> dict[str, Any] | None:
        answer = self._dynamodb().get_item(TableName=self._name, Key={"id": {"S": key}}, ConsistentRead=True)
        return _deserialized(answer["Item"]) if "Item" in answer else None

    def _account(
        self, record: RunRecord, changes: dict[str, Any], condition: ConditionBase, added_usd: float
    ) -> RunRecord:
        """Change a record and its month's sum together, so that no cost is counted twice or not at all."""
        of_record = {"Update": self._change(record.run_id, changes, condition)}
        answers = self._transact(of_record, {"Update": self._settlement(record.run_id, added_usd)})
        if answers[0] == _REFUSED:
            raise Superseded(record.run_id)
        # A month without an item is made from the records, this one's cost included.
        return self._update(record, changes, condition) if _REFUSED in answers else replace(record, **changes)

    def _settlement(self, run_id: str, added_usd: float) -> dict[str, Any]:
        return {
            "TableName": self._name,
            "Key": {"id": _serialize(budget.month_key(budget.month_of(run_id)))},
            "UpdateExpression": "REMOVE reserved_usd.#run ADD ended_usd :added, version :one",
            "ConditionExpression": "attribute_exists(id)",
            "ExpressionAttributeNames": {"#run": run_id},
            "ExpressionAttributeValues": {":added": _serialize(usd(added_usd)), ":one": _serialize(1)},
        }

    def _transact(self, *items: dict[str, Any]) -> list[str]:
        """Write all items or none; returns AWS's answer for each: "None", or _REFUSED when its condition failed."""
        for pause in (*PAUSES_SECONDS, None):
            try:
                self._dynamodb().transact_write_items(TransactItems=list(items))
            except ClientError as error:
                answers = _answers(error)
                if _REFUSED in answers:
                    return answers
                # Cancelled for throttling or a conflict says nothing of the conditions.
                if pause is None or not _crowded(error):
                    raise
                time.sleep(pause)
            else:
                break
        return ["None"] * len(items)

    def _put(self, item: dict[str, Any], condition: ConditionBase) -> dict[str, Any]:
        expressed = _expressed(condition)
        return {"Put": {"TableName": self._name, "Item": _serialized(item), **expressed}}

    def _change(self, run_id: str, changes: dict[str, Any], condition: ConditionBase) -> dict[str, Any]:
        attributes = to_attributes(changes)
        names = {f"#f{i}": name for i, name in enumerate(attributes)}
        values = {f":f{i}": _serialize(value) for i, value in enumerate(attributes.values())}
        asked = _expressed(condition)
        return {
            "TableName": self._name,
            "Key": {"id": {"S": run_id}},
            "UpdateExpression": "SET " + ", ".join(f"#f{i} = :f{i}" for i in range(len(attributes))),
            "ConditionExpression": asked["ConditionExpression"],
            "ExpressionAttributeNames": names | asked["ExpressionAttributeNames"],
            "ExpressionAttributeValues": values | asked.get("ExpressionAttributeValues", {}),
        }

    def _update(self, record: RunRecord, changes: dict[str, Any], condition: ConditionBase) -> RunRecord:
        change = self._change(record.run_id, changes, condition)
        for pause in (*PAUSES_SECONDS, None):
            try:
                self._dynamodb().update_item(**change)
            except ClientError as error:
                if error_code(error) == "ConditionalCheckFailedException":
                    raise Superseded(record.run_id) from error
                if pause is None or error_code(error) != _CONFLICT:
                    raise
                time.sleep(pause)
            else:
                break
        return replace(record, **changes)

    def close_stack(self, now: int) -> None:
        """Let no run be registered from now on: the stack is being deleted. May be repeated."""
        self._mark_stack(True, now)

    def open_stack(self, now: int) -> None:
        """Let runs be registered again. May be repeated."""
        self._mark_stack(False, now)

    def while_open(self) -> dict[str, Any]:
        """Return the part of a transaction that is refused once `close_stack` was called."""
        condition = Attr("closed").not_exists() | Attr("closed").eq(False)
        key = {"id": {"S": _STACK}}
        return {"ConditionCheck": {"TableName": self._name, "Key": key, **_expressed(condition)}}

    def _mark_stack(self, closed: bool, now: int) -> None:
        self._dynamodb().update_item(
            TableName=self._name,
            Key={"id": {"S": _STACK}},
            UpdateExpression="SET closed = :closed, marked_at = :now",
            ExpressionAttributeValues={":closed": _serialize(closed), ":now": _serialize(now)},
        )


def _answers(error: ClientError) -> list[str]:
    return [str(reason.get("Code")) for reason in error.response.get("CancellationReasons", [])]


def _crowded(error: ClientError) -> bool:
    return any(answer in _CROWDED for answer in _answers(error))


def _expressed(condition: ConditionBase) -> dict[str, Any]:
    built = ConditionExpressionBuilder().build_expression(condition)
    values = {name: _serialize(value) for name, value in built.attribute_value_placeholders.items()}
    return {
        "ConditionExpression": built.condition_expression,
        "ExpressionAttributeNames": built.attribute_name_placeholders,
        # DynamoDB refuses an empty map.
        **({"ExpressionAttributeValues": values} if values else {}),
    }


def _serialize(value: Any) -> dict[str, Any]:
    return cast(dict[str, Any], TypeSerializer().serialize(value))


def _serialized(item: dict[str, Any]) -> dict[str, Any]:
    return {name: _serialize(value) for name, value in item.items()}


def _deserialized(item: dict[str, Any]) -> dict[str, Any]:
    return {name: TypeDeserializer().deserialize(value) for name, value in item.items()}
