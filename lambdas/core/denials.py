"""What AWS refuses for want of a permission, and whom it says it refused what. Runs in Lambda; pure."""

import re

# EC2's name for it, and what S3 gives for a HEAD, whose answer has no body.
_NAMES = ("UnauthorizedOperation", "403")
# User: arn:aws:sts::1:assumed-role/Role/session is not authorized to perform: s3:PutObject on resource: ...
# https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html
_ROLE = re.compile(r"\bassumed-role/([\w+=,.@-]+)/")
_ACTION = re.compile(r"\bnot authorized to perform: ([\w-]+:\w+)")
_ENCODED = "Encoded authorization failure message"


def denied(error_code: str) -> bool:
    """Return whether an error code says that a permission is missing: a call that is repeated is refused again."""
    return error_code in _NAMES or "AccessDenied" in error_code


def refused(result: str) -> bool:
    """Return whether the result of a deletion, `refused: <code>`, says that a permission is missing."""
    _, marked, code = result.partition("refused: ")
    return bool(marked) and denied(code)


def told(operation: str, error_code: str, message: str) -> str:
    """Return who was refused what, as far as AWS's answer tells, and the answer; its encoded part is for machines."""
    role, action = _ROLE.search(message), _ACTION.search(message)
    who = f"the role {role[1]}" if role else "the function's role"
    what = f"{operation} ({action[1]})" if action else operation
    said = message.partition(_ENCODED)[0].strip()
    return f"{what} was refused to {who}: {error_code}{': ' + said if said else '.'}"
