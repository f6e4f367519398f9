"""boto3 clients, one a service, with bounded retries and timeouts, and their errors. Runs in Lambda."""

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from contracts.reasons import PermissionMissing
from lambdas.core import denials

TRIES = 5
CONNECT_SECONDS = 5
READ_SECONDS = 20
Handler = Callable[[dict[str, Any], Any], Any]


class AwsUnavailable(Exception):
    """AWS throttled, failed or did not answer, however often it was asked. The state machine asks again later."""


@lru_cache
def client(service: str, tries: int = TRIES, read_seconds: int = READ_SECONDS) -> Any:
    """Return the client of `service`, kept for the life of the process.

    A call that hangs must not eat the function's whole time: connecting and reading are limited, and so are tries.
    """
    config = Config(
        connect_timeout=min(CONNECT_SECONDS, read_seconds),
        read_timeout=read_seconds,
        retries={"mode": "standard", "total_max_attempts": tries},
    )
    return boto3.client(service, config=config)  # type: ignore[call-overload]


def repeatable(handler: Handler) -> Handler:
    """Let a handler's AWS errors leave it under two names, which the state machine's Retry can match.

    What is refused for want of a permission is PermissionMissing, and hardly worth repeating; all else AwsUnavailable.
    botocore makes a class of its own for each error that a service models (ThrottlingException, ...), and Step
    Functions matches class names. An answer of S3 that breaks off in the body of an error is neither tried again nor
    named by botocore: it leaves it as urllib3's own error.
    """

    @wraps(handler)
    def named(event: dict[str, Any], context: Any) -> Any:
        try:
            return handler(event, context)
        except (ClientError, BotoCoreError, HTTPError) as error:
            if isinstance(error, ClientError) and denials.denied(error_code(error)):
                raise PermissionMissing(
                    denials.told(error.operation_name, error_code(error), error_message(error))
                ) from error
            raise AwsUnavailable(f"{type(error).__name__}: {error}") from error

    return named


def error_code(error: ClientError) -> str:
    """Return the error code AWS gave."""
    return str(error.response.get("Error", {}).get("Code", ""))


def error_message(error: ClientError) -> str:
    """Return the message AWS gave."""
    return str(error.response.get("Error", {}).get("Message", ""))[:500]
