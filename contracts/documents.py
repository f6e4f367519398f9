"""Read and write the contract documents, each checked against its JSON Schema. Runs in Lambda and on the instance."""

import difflib
import json
import sys
from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn, cast

import fastjsonschema

Document = dict[str, Any]

SCHEMA_FOLDER = Path(__file__).parent
MAX_STATE_BYTES = 64 * 1024
MAX_EXACT_INTEGER = 2**53


class DocumentInvalid(ValueError):
    """A document does not follow its contract.

    Parameters
    ----------
    field : str
        Path of the field in the document, `models[0]`, or the document's name when it is wrong as a whole.
    expected, found : str
        What the contract asks for and what is there.
    """

    def __init__(self, field: str, expected: str, found: str) -> None:
        super().__init__(f"{field}: expected {expected}, found {found}.")
        self.field = field
        self.expected = expected
        self.found = found


@lru_cache
def schema(name: str) -> Document:
    """Return the JSON Schema called `name`, such as `run_request`."""
    return cast(Document, json.loads((SCHEMA_FOLDER / f"{name}.schema.json").read_text()))


@lru_cache
def _validator(name: str) -> Any:
    return fastjsonschema.compile(schema(name))


def check(name: str, document: Any) -> Document:
    """Return `document` with the defaults of schema `name` filled in.

    Raises
    ------
    DocumentInvalid
        With the field, what was expected there and what was found.
    """
    try:
        return _checked(name, document)
    except RecursionError as error:
        raise DocumentInvalid(name, "a document of a few levels", "one nested too deep to read") from error


def _checked(name: str, document: Any) -> Document:
    try:
        return cast(Document, _validator(name)(_as_json(name, document)))
    except fastjsonschema.JsonSchemaValueException as error:
        _explain(name, error)


def _as_json(name: str, document: Any) -> Any:
    """Return `document` as every reader of JSON gets it: with finite numbers, and text that UTF-8 can say."""
    try:
        text = json.dumps(document, allow_nan=False, ensure_ascii=False)
        return json.loads(text.encode("utf-8", "replace"), parse_float=_number, parse_int=_integer)
    except ValueError as error:
        # 1e999 is infinity when it is read, and an integer of 5,000 digits is one that nobody can write.
        raise DocumentInvalid(name, "numbers that JSON can hold", str(error)[:200]) from error


def _number(text: str) -> float | int:
    """Return 3.0 as 3: to JSON Schema both are integers, to range() and to Step Functions only one is."""
    value = float(text)
    return int(value) if value.is_integer() and abs(value) < MAX_EXACT_INTEGER else value


def _integer(digits: str) -> int:
    """Return an integer that every reader can hold: most read each number of JSON as a float of 64 bits."""
    value = int(digits)
    if abs(value) > sys.float_info.max:
        raise ValueError(f"an integer of {len(digits)} digits")
    return value


def parse(name: str, text: bytes | str) -> Document:
    """Decode JSON `text`, in which no field stands twice, and check it against schema `name`; see `check`."""
    try:
        document = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_each_once)
    except (ValueError, RecursionError) as error:
        raise DocumentInvalid(name, "a JSON document", str(error)[:200]) from error
    return check(name, document)


def dump(name: str, document: Document) -> bytes:
    """Encode `document` as JSON after checking it against schema `name`; raises DocumentInvalid."""
    return json.dumps(check(name, document), indent=2, allow_nan=False).encode()


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _each_once(fields: list[tuple[str, Any]]) -> Document:
    """Return an object; JSON does not say which of two fields of one name counts, so readers would differ."""
    document = dict(fields)
    if len(document) < len(fields):
        counted = Counter(name for name, _ in fields)
        twice = counted.most_common(1)[0][0]
        raise ValueError(f"the field {twice[:100]} twice in one object")
    return document


def _explain(name: str, error: fastjsonschema.JsonSchemaValueException) -> NoReturn:
    field = str(error.name).removeprefix("data").removeprefix(".") or name
    if error.rule == "additionalProperties" and isinstance(error.value, dict):
        known = sorted(error.definition.get("properties", {}))
        unknown = sorted(set(error.value) - set(known))[0]
        near = difflib.get_close_matches(unknown, known, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise DocumentInvalid(_join(field, name, unknown), f"no such field ({hint}known: {', '.join(known)})", "it")
    raise DocumentInvalid(field, _expectation(error), json.dumps(error.value)[:120]) from error


def _join(field: str, name: str, key: str) -> str:
    shown = key[:100] or '""'
    return shown if field == name else f"{field}.{shown}"


def _expectation(error: fastjsonschema.JsonSchemaValueException) -> str:
    rule, wanted = error.rule, error.rule_definition
    match rule:
        case "type":
            return " or ".join(wanted) if isinstance(wanted, list) else f"{wanted}"
        case "enum":
            return "one of " + ", ".join(json.dumps(value) for value in wanted)
        case "required":
            return f"the fields {', '.join(wanted)}"
        case "uniqueItems":
            return "no value twice"
    words = {
        "minimum": "at least", "maximum": "at most", "exclusiveMinimum": "more than", "exclusiveMaximum": "less than",
        "minItems": "at least this many entries:", "maxItems": "at most this many entries:",
        "maxProperties": "at most this many fields:", "propertyNames": "names of fields that follow",
        "minLength": "at least this many characters:", "maxLength": "at most this many characters:",
        "pattern": "text that matches", "const": "exactly",
    }  # fmt: skip
    return f"{words.get(str(rule), rule)} {wanted}"
