"""Every AWS call that reaches the embedded cloud, one JSON line each: who, what, with what. Runs in its server.

Off unless CHRONOS_LOCAL_CALL_LOG is set. Clients say who they are in their user agent, where botocore puts
AWS_SDK_UA_APP_ID: https://docs.aws.amazon.com/sdkref/latest/guide/feature-appid.html (CloudTrail shows it too). What a
state machine asks for never reaches the network here, so it is taken where MiniStack carries it out.
"""

import json
import os
import re
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

from microburst.detection import detect
from ministack import app
from ministack.services import stepfunctions
from moto.core.model import OperationModel
from moto.core.parse import PROTOCOL_PARSERS
from moto.core.utils import get_service_model
from multidict import CIMultiDict
from werkzeug.datastructures import MultiDict

from local import callbacks

SWITCH = "CHRONOS_LOCAL_CALL_LOG"
INSTANCE = "instance"
# What instance/object_reads.py calls itself, which asks S3 without botocore's client.
_DIRECT_READS = "chronos-training"
_APP_ID = re.compile(r"\bapp/(\S+)")
_BODY_BYTES = 1 << 20
_BODIES = ("Body", "Item", "ExpressionAttributeValues", "TransactItems", "input", "output", "taskToken", "UserData")
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


@dataclass(frozen=True)
class Call:
    """One AWS call.

    Parameters
    ----------
    at : str
        When it was answered, UTC.
    caller : str
        `lambda:<function>`, `instance`, `states:<state>` or `other`.
    service, operation : str
        As botocore names them.
    parameters : dict
        As botocore names them, bodies and tokens left out.
    status : int
        HTTP status of the answer.
    """

    at: str
    caller: str
    service: str
    operation: str
    parameters: dict[str, Any]
    status: int


def read(path: Path) -> Iterator[Call]:
    """Yield the calls of a log (`calls.jsonl` in the state folder), oldest first; none when there is no log."""
    if path.exists():
        with path.open() as lines:
            for line in lines:
                yield Call(**json.loads(line))


class CallLog:
    """Writes the log of one server.

    Parameters
    ----------
    path : Path
        `calls.jsonl`; calls are added at its end.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._app = app.app
        self._invoke = stepfunctions._invoke_resource

    def install(self) -> None:
        """Stand in front of MiniStack, if the switch is set."""
        if os.environ.get(SWITCH):
            app.app = self.serve
            stepfunctions._invoke_resource = self.invoke

    async def serve(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request as MiniStack does and note it; health checks and what is no AWS call are left out."""
        if scope["type"] != "http" or scope["path"].startswith("/_"):
            await self._app(scope, receive, send)
            return
        body, status = bytearray(), [0]

        async def heard() -> Message:
            message = await receive()
            if len(body) < _BODY_BYTES:
                body.extend(message.get("body", b""))
            return message

        async def said(message: Message) -> None:
            status[0] = message.get("status", status[0])
            await send(message)

        try:
            await self._app(scope, heard, said)
        finally:
            if call := described(scope, bytes(body), status[0]):
                self._write(call)

    def invoke(self, resource: str, arguments: Any) -> Any:
        """Carry out a state's integration and note it."""
        state = callbacks.state_name()
        name = str(arguments.get("FunctionName", "")) if isinstance(arguments, dict) else ""
        status = 500
        try:
            answer = self._invoke(resource, arguments)
            status = 200
            return answer
        finally:
            self._write(Call(_now(), f"states:{state}", "lambda", "Invoke", {"FunctionName": name}, status))

    def _write(self, call: Call) -> None:
        line = json.dumps(asdict(call), default=str)
        with self._lock, self._path.open("a") as file:
            file.write(line + "\n")


def described(scope: Mapping[str, Any], body: bytes, status: int) -> Call | None:
    """Return the AWS call that an ASGI request is, None when it is none."""
    headers = CIMultiDict((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"])
    query = dict(parse_qsl(scope["query_string"].decode(), keep_blank_values=True))
    # Content is not needed to know what S3 is asked for, and is not kept.
    found = detect(headers, scope["method"], scope["path"], query, body)
    if not found.service or not found.operation:
        return None
    parameters = _parameters(found.service, found.operation, scope, headers, query, body)
    return Call(_now(), _caller(headers.get("User-Agent", "")), found.service, found.operation, parameters, status)


def _caller(agent: str) -> str:
    named = _APP_ID.search(agent)
    name = named[1] if named else ""
    if name == INSTANCE or agent == _DIRECT_READS:
        return INSTANCE
    return f"lambda:{name}" if name else "other"


def _parameters(
    service: str,
    operation: str,
    scope: Mapping[str, Any],
    headers: CIMultiDict[str],
    query: dict[str, str],
    body: bytes,
) -> dict[str, Any]:
    model = get_service_model(service)
    asked = model.operation_model(operation)
    plain = b"" if asked.has_streaming_input or service == "s3" else body
    form = dict(parse_qsl(plain.decode())) if model.protocol in ("ec2", "query") else {}
    request: Any = {
        "method": scope["method"],
        "values": MultiDict({**query, **form}),
        "headers": headers,
        "body": plain or b"{}" if "json" in str(model.protocol) else plain,
        "url_path": scope["path"],
        "url_params": _path_parameters(asked, scope["path"]),
    }
    try:
        parsed = PROTOCOL_PARSERS[model.protocol](asked).parse(request)
    except Exception as error:
        # A request whose parameters cannot be read is a call all the same, and must be on the log.
        parsed = {"unread": repr(error)}
    return {name: value for name, value in parsed.items() if name not in _BODIES}


def _path_parameters(asked: OperationModel, path: str) -> dict[str, str]:
    uri = asked.http.get("requestUri", "/").partition("?")[0]
    pattern = re.sub(r"\\\{(\w+)(\\\+)?\\\}", lambda m: f"(?P<{m[1]}>{'.+' if m[2] else '[^/]+'})", re.escape(uri))
    matched = re.fullmatch(pattern, path)
    return {name: unquote(value) for name, value in matched.groupdict().items()} if matched else {}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
