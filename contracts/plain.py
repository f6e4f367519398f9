"""Text from outside, made plain: control characters as visible escapes. Runs in Lambda, on the instance, in the CLI."""

import re
from typing import Any

# C0 and C1 controls (newline, ANSI escapes), what is invisible or turns the direction of text, line separators, halves
# of surrogate pairs. https://www.unicode.org/reports/tr36/ (Unicode Security Considerations)
CONTROLS = "\x00-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff"
_CONTROL = re.compile(f"[{CONTROLS}]")


def plain(text: str, keep: str = "") -> str:
    r"""Return `text` with control characters as escapes (`\x1b`, `\n`), but for those in `keep`."""
    return _CONTROL.sub(lambda found: found[0] if found[0] in keep else _escaped(found[0]), text)


def plain_document(value: Any) -> Any:
    """Return a JSON value with every text in it made plain, names of fields included."""
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, list):
        return [plain_document(entry) for entry in value]
    if isinstance(value, dict):
        return {plain(name): plain_document(entry) for name, entry in value.items()}
    return value


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()
