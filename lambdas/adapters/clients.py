"""boto3 clients, one a service, with bounded retries and timeouts. Runs in Lambda."""

from functools import lru_cache
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

TRIES = 5


@lru_cache
def client(service: str, tries: int = TRIES) -> Any:
    """Return the client of `service`, kept for the life of the process.

    A call that hangs must not eat the function's whole time: connecting and reading are limited, and so are tries.
    """
    config = Config(connect_timeout=5, read_timeout=20, retries={"mode": "standard", "total_max_attempts": tries})
    return boto3.client(service, config=config)  # type: ignore[call-overload]


def error_code(error: ClientError) -> str:
    """Return the error code AWS gave."""
    return str(error.response.get("Error", {}).get("Code", ""))


def error_message(error: ClientError) -> str:
    """Return the message AWS gave."""
    return str(error.response.get("Error", {}).get("Message", ""))[:500]
