"""A service, or one call, that refuses, throttles or hangs, seen by a function with a time limit. For pytest."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import botocore.client
from botocore.exceptions import ClientError, ReadTimeoutError

REFUSED = {"ec2": "UnauthorizedOperation", "s3": "AccessDenied"}
THROTTLED = {"ec2": "RequestLimitExceeded", "s3": "SlowDown"}


class OutOfTime(BaseException):
    """Lambda ends the function: nothing of it runs any more."""


@dataclass
class Outage:
    """What is down, and what the calls to it cost a function.

    Parameters
    ----------
    service, operation : str
        The operation "" stands for all of the service's.
    how : {"refused", "throttled", "hanging"}
        A call that hangs takes all tries of its client, each until its client's read timeout.
    """

    service: str
    operation: str
    how: str
    spent_seconds: float = 0.0
    limit_seconds: float = 0.0
    calls: list[tuple[str, float]] = field(default_factory=list)

    @contextmanager
    def during(self, limit_seconds: float) -> Iterator["Outage"]:
        """Let a function run that Lambda ends after `limit_seconds` of hanging; raises OutOfTime in it then."""
        real_call, real_clock = botocore.client.BaseClient._make_api_call, time.monotonic
        self.spent_seconds, self.limit_seconds = 0.0, limit_seconds
        self.calls.clear()

        def clock() -> float:
            return real_clock() + self.spent_seconds

        def call(client: Any, operation: str, arguments: Any) -> Any:
            service = client.meta.service_model.service_name
            self.calls.append((operation, self.spent_seconds))
            if service == self.service and operation.startswith(self.operation):
                self._fail(client, operation)
            return real_call(client, operation, arguments)

        with (
            mock.patch.object(botocore.client.BaseClient, "_make_api_call", call),
            mock.patch.object(time, "monotonic", clock),
            mock.patch.object(time, "sleep", self._sleep),
        ):
            yield self

    def seconds_to(self, operation: str) -> float:
        """Return how long the function had hung when it first made a call."""
        return next(at for name, at in self.calls if name == operation)

    def _fail(self, client: Any, operation: str) -> None:
        config = client.meta.config
        if self.how == "hanging":
            self._sleep(config.read_timeout * config.retries["total_max_attempts"])
            raise ReadTimeoutError(endpoint_url=f"https://{self.service}")
        code = (REFUSED if self.how == "refused" else THROTTLED).get(
            self.service, "AccessDeniedException" if self.how == "refused" else "ThrottlingException"
        )
        raise ClientError({"Error": {"Code": code, "Message": "by the test"}}, operation)

    def _sleep(self, seconds: float) -> None:
        self.spent_seconds += seconds
        if self.spent_seconds > self.limit_seconds:
            raise OutOfTime
