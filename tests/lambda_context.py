"""What a handler gets as its Lambda context. Runs under pytest."""

from dataclasses import dataclass


@dataclass
class Context:
    """What Powertools reads of a Lambda context."""

    function_name: str = "test"
    memory_limit_in_mb: int = 256
    invoked_function_arn: str = "arn:aws:lambda:us-east-1:123456789012:function:test"
    aws_request_id: str = "request-1"
