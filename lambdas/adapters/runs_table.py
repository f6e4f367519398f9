"""The runs table: every write conditional, so that late and double callers change nothing. Runs in Lambda."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any, cast

from boto3.dynamodb.conditions import Attr, ConditionBase, ConditionExpressionBuilder
from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from botocore.exceptions import ClientError

from lambdas.adapters.clients import client, error_code
from lambdas.core.records import BOOT, TRAINING, RunRecord, from_item, to_attributes

BY_TIME = "by-time"
_EXECUTION = "execution#"


class Superseded(Exception):
    """The record has moved on: another attempt, a later report or the end of the run came first."""


class RunsTable:
    """Records by run id, and run ids by execution."""

    def __init__(self, name: str) -> None:
        self._name = name

    def load(self, run_id: str) -> RunRecord | None:
        """Return the newest record of a run, or None."""
        item = self._get(run_id)
        return from_item(item) if item else None

    def of_execution(self, execution_arn: str) -> RunRecord | None:
        """Return the record that an execution registered, or None."""
        item = self._get(_EXECUTION + execution_arn)
        return self.load(item["run_id"]) if item else None

    def register(self, record: RunRecord) -> bool:
        """Put a new record and its execution's pointer, both or none. Returns False when the run id is taken."""
        pointer = {"id": _EXECUTION + record.execution_arn, "run_id": record.run_id}
        puts = [
            {
                "Put": {
                    "TableName": self._name,
                    "Item": _serialized(item),
                    "ConditionExpression": "attribute_not_exists(id)",
                }
            }
            for item in (record.to_item(), pointer)
        ]
        try:
            client("dynamodb").transact_write_items(TransactItems=puts)
        except ClientError as error:
            reasons = error.response.get("CancellationReasons", [])
            # A transaction is cancelled for throttling and conflicts too: then the run id may well be free.
            if not any(reason.get("Code") == "ConditionalCheckFailed" for reason in reasons):
                raise
            return False
        return True

    def begin_stage(self, record: RunRecord, changes: dict[str, Any]) -> RunRecord:
        """Write the token of a waiting state. Raises Superseded when the run has ended or is further on already."""
        attempt = changes.get("attempt", record.attempt)
        reached: ConditionBase = Attr("attempt").lte(attempt)
        if changes["stage"] == BOOT:
            # A late second call of LaunchInstance must not take the token of the state that waits now.
            reached &= Attr("attempt").ne(attempt) | Attr("stage").ne(TRAINING)
        return self._update(record, changes, Attr("closed_at").eq(0) & reached)

    def claim_rung(self, record: RunRecord, changes: dict[str, Any]) -> RunRecord:
        """Write what EC2 is asked for next. Raises Superseded when the run has ended or another call took over."""
        mine = Attr("attempt").eq(record.attempt) & Attr("task_token").eq(record.task_token)
        return self._update(record, changes, Attr("closed_at").eq(0) & mine)

    def note_attempt(self, record: RunRecord, changes: dict[str, Any]) -> RunRecord:
        """Write what happened to the current attempt. Raises Superseded when it, or the run, is over."""
        return self._update(record, changes, Attr("closed_at").eq(0) & Attr("attempt").eq(record.attempt))

    def advance(self, record: RunRecord, changes: dict[str, Any]) -> RunRecord:
        """Write what a report says. Raises Superseded unless its `seq` is above the recorded one of this attempt."""
        newer = Attr("attempt").eq(record.attempt) & Attr("seq").lt(changes["seq"])
        return self._update(record, changes, newer)

    def note(self, record: RunRecord, changes: dict[str, Any]) -> RunRecord:
        """Write facts that are true whatever else happens. Raises Superseded only when the record is gone."""
        return self._update(record, changes, Attr("id").exists())

    def close(self, record: RunRecord, changes: dict[str, Any]) -> RunRecord:
        """End the run once: from then on nothing may launch for it. Raises Superseded when it was ended before."""
        return self._update(record, changes, Attr("closed_at").eq(0))

    def finish(self, record: RunRecord, changes: dict[str, Any]) -> RunRecord:
        """Write the verdict once. Raises Superseded when there is one already."""
        return self._update(record, changes, Attr("ended_at").eq(0))

    def since(self, run_id_prefix: str) -> list[RunRecord]:
        """Return the records whose run id begins with `run_id_prefix` (`202611` is a month), newest first."""
        return list(self._by_time("kind = :run AND begins_with(run_id, :prefix)", {":prefix": {"S": run_id_prefix}}))

    def newest(self, limit: int) -> list[RunRecord]:
        """Return the newest `limit` records, however many pages of 1 MB they fill."""
        return list(islice(self._by_time("kind = :run", {}), limit))

    def _by_time(self, condition: str, values: dict[str, Any]) -> Iterator[RunRecord]:
        """Yield records newest first; a page is asked for when the one before is used up."""
        pages = (
            client("dynamodb")
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
        answer = client("dynamodb").get_item(TableName=self._name, Key={"id": {"S": key}}, ConsistentRead=True)
        return _deserialized(answer["Item"]) if "Item" in answer else None

    def _update(self, record: RunRecord, changes: dict[str, Any], condition: ConditionBase) -> RunRecord:
        attributes = to_attributes(changes)
        names = {f"#f{i}": name for i, name in enumerate(attributes)}
        values = {f":f{i}": _serialize(value) for i, value in enumerate(attributes.values())}
        built = ConditionExpressionBuilder().build_expression(condition)
        try:
            client("dynamodb").update_item(
                TableName=self._name,
                Key={"id": {"S": record.run_id}},
                UpdateExpression="SET " + ", ".join(f"#f{i} = :f{i}" for i in range(len(attributes))),
                ConditionExpression=built.condition_expression,
                ExpressionAttributeNames=names | built.attribute_name_placeholders,
                ExpressionAttributeValues=values
                | {name: _serialize(value) for name, value in built.attribute_value_placeholders.items()},
            )
        except ClientError as error:
            if error_code(error) == "ConditionalCheckFailedException":
                raise Superseded(record.run_id) from error
            raise
        return replace(record, **changes)


def _serialize(value: Any) -> dict[str, Any]:
    return cast(dict[str, Any], TypeSerializer().serialize(value))


def _serialized(item: dict[str, Any]) -> dict[str, Any]:
    return {name: _serialize(value) for name, value in item.items()}


def _deserialized(item: dict[str, Any]) -> dict[str, Any]:
    return {name: TypeDeserializer().deserialize(value) for name, value in item.items()}
