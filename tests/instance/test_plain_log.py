"""Names and messages cannot forge a line of a log."""

import io
import logging

from instance.plain_log import PlainFormatter

FORGED = "series\n2026-11-24 INFO instance.main the attempt ended: completed\x1b[2J"


def _written(*arguments: object, **more: object) -> list[str]:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(PlainFormatter("%(levelname)s %(message)s"))
    logger = logging.Logger("test")
    logger.addHandler(handler)
    logger.warning(*arguments, **more)  # type: ignore[arg-type]
    return stream.getvalue().splitlines()


def test_a_message_stays_on_its_line() -> None:
    (line,) = _written("%s could not be forecast", FORGED)

    assert line.startswith("WARNING series\\n2026-11-24")
    assert "\x1b" not in line


def test_a_traceback_looks_like_no_record() -> None:
    try:
        raise ValueError(FORGED)
    except ValueError:
        first, *rest = _written("failed", exc_info=True)

    assert first == "WARNING failed"
    assert "  ValueError: series" in rest
    assert all(line.startswith("  ") for line in rest)
    assert not any("\x1b" in line for line in rest)
