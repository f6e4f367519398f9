"""The dead-man switch: one EventBridge schedule a run, which fires once and deletes itself. Runs in Lambda."""

import hashlib
import json
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError

from lambdas.adapters.clients import PATIENT, Pace, client, error_code, problem_of


class Schedules:
    """The one-time schedules of the stack's group: a run's first is named after it, those armed again `<run id>.again`.

    A schedule that fired is deleted "shortly after" (ActionAfterCompletion,
    https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-schedule-delete.html), and with it whatever it was
    moved to meanwhile. So the one that fired is never moved: the other one of the two names is armed.
    """

    def __init__(self, group: str, role_arn: str, target_arn: str, pace: Pace = PATIENT) -> None:
        self._group = group
        self._role_arn = role_arn
        self._target_arn = target_arn
        self._pace = pace

    def arm(self, run_id: str, at: int, fired: str = "") -> None:
        """Make the sweep of a run happen at `at` (epoch seconds), whatever happens; `fired` is the name that called.

        A schedule of the name to be armed that exists already is moved.
        """
        first, again = self.names(run_id)
        name = again if fired == first else first
        self.arm_event(name, at, {"source": "dead_man", "run_id": run_id, "schedule": name})

    def arm_event(self, name: str, at: int, event: dict[str, Any]) -> None:
        """Make the sweep happen at `at` (epoch seconds) with an event; a schedule of that name is moved."""
        definition = {
            "Name": name,
            "GroupName": self._group,
            "ScheduleExpression": f"at({datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%S})",
            "FlexibleTimeWindow": {"Mode": "OFF"},
            "ActionAfterCompletion": "DELETE",
            "Target": {
                "Arn": self._target_arn,
                "RoleArn": self._role_arn,
                "Input": json.dumps(event),
            },
        }
        try:
            self._scheduler().create_schedule(**definition)
        except ClientError as error:
            if error_code(error) != "ConflictException":
                raise
            self._scheduler().update_schedule(**definition)

    @staticmethod
    def names(run_id: str) -> tuple[str, str]:
        """Return the two names a run's schedules can have."""
        return run_id, f"{run_id}.again"

    def armed(self, run_id: str) -> list[str]:
        """Return the names of a run's schedules that are there."""
        return [name for name in self.names(run_id) if self._exists(name)]

    def _exists(self, name: str) -> bool:
        try:
            self._scheduler().get_schedule(Name=name, GroupName=self._group)
        except ClientError as error:
            if error_code(error) == "ResourceNotFoundException":
                return False
            raise
        return True

    def _scheduler(self) -> Any:
        return client("scheduler", *self._pace)

    def disarm(self, name: str) -> str:
        """Delete a schedule; returns what came of it. Never raises."""
        try:
            self._scheduler().delete_schedule(Name=name, GroupName=self._group)
        except ClientError as error:
            if error_code(error) == "ResourceNotFoundException":
                return "already gone"
            return f"refused: {error_code(error)}"
        except Exception as error:  # whatever it is, the schedule finds nothing and deletes itself
            return f"no answer: {problem_of(error)}"
        return "deleted"


def name_of_event(execution_arn: str) -> str:
    """Return the name of the schedule that repeats the event of an execution's end (at most 64 characters)."""
    return f"ended-{hashlib.sha256(execution_arn.encode()).hexdigest()[:40]}"
