"""The dead-man switch: one EventBridge schedule a run, which fires once and deletes itself. Runs in Lambda."""

import json
from datetime import UTC, datetime

from botocore.exceptions import ClientError

from lambdas.adapters.clients import client, error_code


class Schedules:
    """The one-time schedules of the stack's group, named after their runs."""

    def __init__(self, group: str, role_arn: str, target_arn: str) -> None:
        self._group = group
        self._role_arn = role_arn
        self._target_arn = target_arn

    def arm(self, run_id: str, at: int) -> None:
        """Make the sweep of a run happen at `at` (epoch seconds), whatever happens; moves one that exists."""
        definition = {
            "Name": run_id,
            "GroupName": self._group,
            "ScheduleExpression": f"at({datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%S})",
            "FlexibleTimeWindow": {"Mode": "OFF"},
            "ActionAfterCompletion": "DELETE",
            "Target": {
                "Arn": self._target_arn,
                "RoleArn": self._role_arn,
                "Input": json.dumps({"source": "dead_man", "run_id": run_id}),
            },
        }
        try:
            client("scheduler").create_schedule(**definition)
        except ClientError as error:
            if error_code(error) != "ConflictException":
                raise
            client("scheduler").update_schedule(**definition)

    def exists(self, run_id: str) -> bool:
        """Return whether the schedule of a run is still there."""
        try:
            client("scheduler").get_schedule(Name=run_id, GroupName=self._group)
        except ClientError as error:
            if error_code(error) == "ResourceNotFoundException":
                return False
            raise
        return True

    def disarm(self, run_id: str) -> str:
        """Delete the schedule of a run; returns what came of it."""
        try:
            client("scheduler").delete_schedule(Name=run_id, GroupName=self._group)
        except ClientError as error:
            if error_code(error) == "ResourceNotFoundException":
                return "already gone"
            return f"refused: {error_code(error)}"
        return "deleted"
