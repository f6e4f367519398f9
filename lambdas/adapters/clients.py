"""boto3 clients, one a service, with bounded retries and timeouts, and their errors. Runs in Lambda."""

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, NamedTuple

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from contracts.reasons import PermissionMissing
from lambdas.core import denials

TRIES = 5
CONNECT_SECONDS = 5
READ_SECONDS = 20


class Pace(NamedTuple):
    """How often a call is tried, and how long each try may take to connect and to answer, in seconds."""

    tries: int
    read_seconds: int


PATIENT = Pace(TRIES, READ_SECONDS)
# For functions that end a machine whatever else hangs: they are called again, so a call may fail soon.
BRIEF = Pace(3, 4)
# For what arms their next call, which comes first and has ten seconds, the pauses between tries included.
QUICK = Pace(2, 2)
# What a call to AWS can end with. An answer of S3 that breaks off in its body is urllib3's own error.
AWS_ERRORS = (ClientError, BotoCoreError, HTTPError)
PROBLEM_LENGTH = 300
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
        except AWS_ERRORS as error:
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


def problem_of(error: BaseException) -> str:
    """Return what an error says, for a log, a receipt or a note: its AWS code or its class, and its message."""
    if isinstance(error, ClientError):
        said = f"{error.operation_name} was refused: {error_code(error)} {error_message(error)}"
    else:
        said = f"{type(error).__name__}: {error}"
    return said.strip()[:PROBLEM_LENGTH]
