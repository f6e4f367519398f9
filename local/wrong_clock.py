"""A machine whose clock is wrong, and S3's answer to it. Runs in the cloud's server.

The kernel has one clock for all of this computer, so the wrong time is put where programs of a machine ask for it:
Python reads it through time-machine (https://github.com/adamchainz/time-machine), started by a `sitecustomize` module,
the shell through a `date` in front of the real one. S3 refuses what is signed more than 15 minutes off:
https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html (RequestTimeTooSkewed).
"""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ministack import app

MAX_SKEW_SECONDS = 15 * 60
FOLDER, OFFSET, MODULE = "clock", "offset", "sitecustomize.py"
DATE = """#!/bin/bash
exec /usr/bin/date -d "$(<"{offset}") seconds" "$@"
"""
SITE = """# The time of this machine: the computer's, and what its clock is off.
import sys

sys.modules["pytest"] = None  # else time_machine loads it, which takes longer than all the rest
import time_machine

del sys.modules["pytest"]


def now():
    with open("{offset}") as file:
        return time_machine.escape_hatch.time.time_ns() + int(file.read() or 0) * 10**9


time_machine.travel(0).start().time_ns = now
"""
REFUSED = b"""<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>RequestTimeTooSkewed</Code>
<Message>The difference between the request time and the current time is too large.</Message></Error>"""
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


def install_clock(folder: Path, shims: Path) -> dict[str, str]:
    """Give a machine a clock of its own, which is right at first; returns what its environment needs for it."""
    own = folder / FOLDER
    own.mkdir()
    (own / OFFSET).write_text("0")
    (own / MODULE).write_text(SITE.replace("{offset}", str(own / OFFSET)))
    date = shims / "date"
    date.write_text(DATE.replace("{offset}", str(own / OFFSET)))
    date.chmod(0o755)
    return {"PYTHONPATH": str(own)}


def set_clock(folder: Path, seconds: int) -> None:
    """Put a machine's clock ahead by some seconds, or behind; raises ValueError when it has no clock of its own."""
    offset = folder / FOLDER / OFFSET
    if not offset.exists():
        raise ValueError(f"{folder.name}: expected a clock of its own, found none. Set own_clock before the launch.")
    draft = offset.with_suffix(".draft")
    draft.write_text(str(seconds))
    draft.replace(offset)


class ClockCheck:
    """Refuses what was signed at another time, as S3 does; the other services' calls do not come from machines."""

    def __init__(self) -> None:
        self._app = app.app

    def install(self) -> None:
        """Stand in front of MiniStack."""
        app.app = self.serve

    async def serve(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http" or not skewed(dict(scope["headers"]), datetime.now(UTC)):
            await self._app(scope, receive, send)
            return
        headers = [(b"content-type", b"application/xml"), (b"content-length", str(len(REFUSED)).encode())]
        await send({"type": "http.response.start", "status": 403, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else REFUSED})


def skewed(headers: dict[bytes, bytes], now: datetime) -> bool:
    """Return whether a request to S3 is signed with a time too far from `now`."""
    signed_for, at = headers.get(b"authorization", b""), headers.get(b"x-amz-date", b"").decode()
    if b"/s3/aws4_request" not in signed_for or not at:
        return False
    asked = datetime.strptime(at, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    return abs((now - asked).total_seconds()) > MAX_SKEW_SECONDS
