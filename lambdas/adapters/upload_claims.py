"""Which execution an upload starts, kept in the runs table before it is started. Runs in Lambda."""

import time
from typing import Any

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from botocore.exceptions import ClientError

from lambdas.adapters.clients import client
from lambdas.adapters.runs_table import PAUSES_SECONDS
from lambdas.core.upload_request import UPLOAD_SECONDS, UploadClaim

_REFUSED = "ConditionalCheckFailed"
_MINE_OR_NONE = "attribute_not_exists(id) OR #execution = :mine"


class UploadClaims:
    """The claims on contents of keys, one for each time of UPLOAD_SECONDS at most; the table deletes them in a day."""

    def __init__(self, table: str) -> None:
        self._table = table

    def claim(self, mine: UploadClaim) -> UploadClaim:
        """Keep a claim unless there is one of the same upload; returns the one that is kept.

        Another one is there when the same content was uploaded to the same key within UPLOAD_SECONDS. One of the same
        execution is written again: it is the same upload, its event delivered once more.
        """
        before, _, after = mine.ids
        at = mine.uploaded_at
        written = self._written(
            {"Put": {"Item": _serialized(mine.to_item()), **self._condition(mine, _MINE_OR_NONE)}},
            self._check(before, mine, "#uploaded_at < :bound", at - UPLOAD_SECONDS),
            self._check(after, mine, "#uploaded_at > :bound", at + UPLOAD_SECONDS),
        )
        # None is found when the other one has expired meanwhile.
        return mine if written else self.of(mine.ids, at) or mine

    def of(self, ids: tuple[str, ...], uploaded_at: int) -> UploadClaim | None:
        """Return the claim under which an upload at `uploaded_at` (epoch seconds) falls, or None."""
        for claim_id in (ids[1], ids[0], ids[2]):
            asked = {"TableName": self._table, "Key": {"id": {"S": claim_id}}, "ConsistentRead": True}
            item = client("dynamodb").get_item(**asked).get("Item")
            found = UploadClaim.from_item(_deserialized(item)) if item else None
            if found and found.is_close_to(uploaded_at):
                return found
        return None

    def _check(self, claim_id: str, mine: UploadClaim, far: str, bound: int) -> dict[str, Any]:
        asked = self._condition(mine, f"{_MINE_OR_NONE} OR {far}")
        asked["ExpressionAttributeNames"]["#uploaded_at"] = "uploaded_at"
        asked["ExpressionAttributeValues"][":bound"] = {"N": str(bound)}
        return {"ConditionCheck": {"Key": {"id": {"S": claim_id}}, **asked}}

    def _condition(self, mine: UploadClaim, condition: str) -> dict[str, Any]:
        return {
            "TableName": self._table,
            "ConditionExpression": condition,
            "ExpressionAttributeNames": {"#execution": "execution"},
            "ExpressionAttributeValues": {":mine": {"S": mine.execution}},
        }

    @staticmethod
    def _written(*items: dict[str, Any]) -> bool:
        """Write all items or none; returns whether their conditions held. Tries again when it met another one."""
        for pause in (*PAUSES_SECONDS, None):
            try:
                client("dynamodb").transact_write_items(TransactItems=list(items))
            except ClientError as error:
                answers = [reason.get("Code") for reason in error.response.get("CancellationReasons", [])]
                if _REFUSED in answers:
                    return False
                if pause is None or not answers:
                    raise
                time.sleep(pause)
            else:
                break
        return True


def _serialized(item: dict[str, Any]) -> dict[str, Any]:
    return {name: TypeSerializer().serialize(value) for name, value in item.items()}


def _deserialized(item: dict[str, Any]) -> dict[str, Any]:
    return {name: TypeDeserializer().deserialize(value) for name, value in item.items()}
