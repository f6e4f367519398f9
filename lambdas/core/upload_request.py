"""What an uploaded file asks for: strict JSON or a sentence why not, names of its execution and notes. Runs in Lambda.

Pure. JSON is read more strictly than Python does, since what is sent on must mean what was written, to any reader:
https://www.rfc-editor.org/rfc/rfc8259 leaves open what double keys, huge numbers and lone surrogates mean.
"""

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from contracts.documents import Document
from contracts.layout import UPLOAD_CLAIMS
from contracts.plain import plain

MAX_REQUEST_BYTES = 64 * 1024
MAX_LEVELS = 20
# Every integer up to here is a number of its own wherever JSON is read: RFC 8259, section 6.
MAX_INTEGER = 2**53 - 1
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html
MAX_KEY_BYTES = 1024
# The same content on the same key within this time is one upload, whose PUT was repeated after a lost answer.
UPLOAD_SECONDS = 60
# Lambda gives an asynchronous event up after six hours at most.
_CLAIM_SECONDS = 24 * 3600
_EXPECTED = "The request: expected a JSON object such as {}"


class UploadRefused(Exception):
    """An uploaded file is no request; the message says what was expected and what was found."""


@dataclass(frozen=True)
class Upload:
    """One upload, as its event tells: `uploaded_at` in epoch seconds, `sequencer` unique for each write of a key.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html
    """

    key: str
    etag: str
    sequencer: str
    version: str
    uploaded_at: int

    @property
    def execution(self) -> str:
        """Name of the execution: the same for each delivery of the event, new for a new upload."""
        return "upload-" + _digest([self.key, self.sequencer, self.version, self.etag])[:40]

    @property
    def claim_ids(self) -> tuple[str, str, str]:
        """Keys of the claims on this content at this key: of the minute before, of the upload's own, of the next."""
        content = UPLOAD_CLAIMS + _digest([self.key, self.etag])
        minute = self.uploaded_at // UPLOAD_SECONDS
        return f"{content}#{minute - 1}", f"{content}#{minute}", f"{content}#{minute + 1}"


def upload_of(event: dict[str, Any], now: int) -> Upload:
    """Return the upload that S3's event tells of; one without a time is taken for one of `now` (epoch seconds)."""
    happened = event["detail"]["object"]
    return Upload(
        key=happened["key"],
        etag=happened.get("etag", ""),
        sequencer=happened.get("sequencer", ""),
        version=happened.get("version-id", ""),
        uploaded_at=int(datetime.fromisoformat(event["time"]).timestamp()) if event.get("time") else now,
    )


@dataclass(frozen=True)
class UploadClaim:
    """Which execution an upload starts, and its input, so that a repeated event or upload starts the same one.

    `ids` are the keys of the claims of the minute before, of its own and of the next: no other claim can be so close to
    this one as to be of the same upload, and no two claims of one minute can be of two.
    """

    ids: tuple[str, str, str]
    execution: str
    uploaded_at: int
    input: str

    def is_close_to(self, uploaded_at: int) -> bool:
        """Return whether this claim and an upload of the same content to the same key are so close as to be one."""
        return abs(self.uploaded_at - uploaded_at) <= UPLOAD_SECONDS

    def to_item(self) -> dict[str, Any]:
        """Return the claim as a DynamoDB item, which the table deletes by itself in a day or two."""
        return {
            "id": self.ids[1],
            "execution": self.execution,
            "uploaded_at": self.uploaded_at,
            "input": self.input,
            "expires_at": self.uploaded_at + _CLAIM_SECONDS,
        }

    @staticmethod
    def from_item(item: dict[str, Any]) -> "UploadClaim":
        """Return the claim that a DynamoDB item holds."""
        stem, _, minute = item["id"].rpartition("#")
        ids = f"{stem}#{int(minute) - 1}", item["id"], f"{stem}#{int(minute) + 1}"
        return UploadClaim(ids, item["execution"], int(item["uploaded_at"]), item["input"])


def execution_input(content: bytes) -> str:
    """Return an uploaded file as the input of an execution: JSON in ASCII, of the same meaning as the file's.

    Parameters
    ----------
    content : bytes
        The file: JSON in UTF-8, UTF-16 or UTF-32, with or without a byte order mark.

    Raises
    ------
    UploadRefused
    """
    if len(content) > MAX_REQUEST_BYTES:
        raise UploadRefused(f"The request: expected at most {MAX_REQUEST_BYTES} bytes, found more.")
    document = _parsed(_text(content))
    _check_levels(document)
    try:
        json.dumps(document, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise UploadRefused(f"{_EXPECTED}, found half of a surrogate pair in a text, which is no character.") from error
    return json.dumps(document)


def note_key(key: str, ending: str) -> str:
    """Return the key of the note beside an upload; a name too long for S3 is cut, and kept apart by a hash."""
    whole = key + ending
    if len(whole.encode()) <= MAX_KEY_BYTES:
        return whole
    mark = "-" + hashlib.sha256(key.encode()).hexdigest()[:16]
    room = MAX_KEY_BYTES - len(mark) - len(ending)
    return key.encode()[:room].decode(errors="ignore") + mark + ending


def _digest(identity: list[str]) -> str:
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()


def _text(content: bytes) -> str:
    # Python's own guess of the encoding, which it decodes less strictly than this.
    encoding = json.detect_encoding(content)
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise UploadRefused(
            f"{_EXPECTED}, found byte {error.start} that is no {encoding.upper()}; save the file as UTF-8."
        ) from error


def _parsed(text: str) -> Document:
    try:
        document = json.loads(
            text, object_pairs_hook=_object, parse_constant=_no_constant, parse_int=_integer, parse_float=_float
        )
    except RecursionError as error:
        raise UploadRefused(f"{_EXPECTED}, found too many levels of brackets.") from error
    except ValueError as error:
        raise UploadRefused(f"{_EXPECTED}, found other content ({error}).") from error
    if not isinstance(document, dict):
        raise UploadRefused(f"{_EXPECTED}, found {plain(json.dumps(document)[:60])}.")
    return document


def _object(pairs: list[tuple[str, Any]]) -> Document:
    document = dict(pairs)
    if len(document) < len(pairs):
        names = [name for name, _ in pairs]
        double = next(name for name in names if names.count(name) > 1)
        raise UploadRefused(f"{_EXPECTED}, found the field {plain(double)[:60]!r} twice in one object; keep one.")
    return document


def _no_constant(name: str) -> Any:
    raise UploadRefused(f"{_EXPECTED}, found {name}, which is no JSON number.")


def _integer(digits: str) -> int:
    # Python refuses to read more than some thousand digits at all.
    if len(digits) > len(str(-MAX_INTEGER)) or abs(int(digits)) > MAX_INTEGER:
        raise UploadRefused(
            f"{_EXPECTED}, found the number {digits[:30]}; expected integers from {-MAX_INTEGER} to {MAX_INTEGER}."
        )
    return int(digits)


def _float(digits: str) -> float:
    value = float(digits)
    mantissa = digits.lower().partition("e")[0]
    vanished = value == 0 and any(digit in "123456789" for digit in mantissa)
    if vanished or value in (float("inf"), float("-inf")):
        raise UploadRefused(f"{_EXPECTED}, found the number {digits[:30]}, which is beyond what a double holds.")
    return value


def _check_levels(document: Document) -> None:
    level: list[Any] = [document]
    for _ in range(MAX_LEVELS):
        level = [inner for value in level for inner in _inside(value)]
        if not level:
            return
    raise UploadRefused(f"{_EXPECTED}, found more than {MAX_LEVELS} levels of brackets.")


def _inside(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
