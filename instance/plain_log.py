"""Log lines that no text from outside can forge: names and messages stay on their line. Runs on the instance."""

import logging

from contracts.plain import plain


class PlainFormatter(logging.Formatter):
    """Writes control characters as escapes; only a traceback has lines of its own."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name logging calls
        """Return the line of a record."""
        record.message = plain(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: object) -> str:  # noqa: N802
        """Return the traceback of an error, its lines indented so that none looks like a record."""
        text = plain(super().formatException(ei), keep="\n\t")  # type: ignore[arg-type]
        return "\n".join(f"  {line}" for line in text.splitlines())


def log_to_stderr() -> None:
    """Send every record from INFO on to stderr, plain."""
    handler = logging.StreamHandler()
    handler.setFormatter(PlainFormatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
