"""The dead-man switch: one EventBridge schedule a run, which fires once and deletes itself. Runs in Lambda."""

import json
from datetime import UTC, datetime

from botocore.exceptions import ClientError

from lambdas.adapters.clients import client, error_code


class Schedules:
    """The one-time schedules of the stack's group: a run's first is named after it, those armed again `<run id>.again`.

    A schedule that fired is deleted "shortly after" (ActionAfterCompletion,
    https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-schedule-delete.html), and with it whatever it was
    moved to meanwhile. So the one that fired is never moved: the other one of the two names is armed.
    """

    def __init__(self, group: str, role_arn: str, target_arn: str) -> None:
        self._group = group
        self._role_arn = role_arn
        self._target_arn = target_arn

    def arm(self, run_id: str, at: int, fired: str = "") -> None:
        """Make the sweep of a run happen at `at` (epoch seconds), whatever happens; `fired` is the name that called.

        A schedule of the name to be armed that exists already is moved.
        """
        first, again = names(run_id)
        name = again if fired == first else first
        definition = {
            "Name": name,
            "GroupName": self._group,
            "ScheduleExpression": f"at({datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%S})",
            "FlexibleTimeWindow": {"Mode": "OFF"},
            "ActionAfterCompletion": "DELETE",
            "Target": {
                "Arn": self._target_arn,
                "RoleArn": self._role_arn,
                "Input": json.dumps({"source": "dead_man", "run_id": run_id, "schedule": name}),
            },
        }
        try:
            client("scheduler").create_schedule(**definition)
        except ClientError as error:
            if error_code(error) != "ConflictException":
                raise
            client("scheduler").update_schedule(**definition)

    def armed(self, run_id: str) -> list[str]:
        """Return the names of a run's schedules that are there."""
        return [name for name in names(run_id) if self._exists(name)]

    def _exists(self, name: str) -> bool:
        try:
            client("scheduler").get_schedule(Name=name, GroupName=self._group)
        except ClientError as error:
            if error_code(error) == "ResourceNotFoundException":
                return False
            raise
        return True

    def disarm(self, name: str) -> str:
        """Delete a schedule; returns what came of it."""
        try:
            client("scheduler").delete_schedule(Name=name, GroupName=self._group)
        except ClientError as error:
            if error_code(error) == "ResourceNotFoundException":
                return "already gone"
            return f"refused: {error_code(error)}"
        return "deleted"


def names(run_id: str) -> tuple[str, str]:
    """Return the two names a run's schedules can have."""
    return run_id, f"{run_id}.again"
