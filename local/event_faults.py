"""Events that go astray on purpose: dropped, doubled, late, out of order. Runs in the cloud's server.

`events.json` in the state folder maps a detail-type to {"do": what, "seconds": s, "times": n}, for the first n events
(for all of them without `times`): `drop`, `double` (the second one `seconds` later), `delay` by `seconds`, `reorder`
(every other event `seconds` late, so that it comes after its successor), `replay` (after each event comes the last one
from before the fault was set, which is of an older run). EventBridge promises at least once, in no
order: https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-service-event.html
"""

import contextvars
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ministack.services import eventbridge

from local.state_folder import read_json


class EventFaults:
    """Decides what becomes of an event.

    Parameters
    ----------
    path : Path
        `events.json`; it is read at each event, so a test can change it at any time.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._dispatch = eventbridge._dispatch_event
        self._seen: dict[tuple[int, str], int] = {}
        self._before: dict[str, Any] = {}

    def install(self) -> None:
        """Stand between the bus and its rules."""
        eventbridge._dispatch_event = self.dispatch

    def dispatch(self, event: Any, view: Any = None) -> None:
        """Match an event against the rules now, later, twice or never."""
        kind = str(event.get("DetailType") or event.get("detail-type"))
        fault, seen = self._fault(kind)
        act, seconds = fault.get("do"), float(fault.get("seconds", 0))
        if act == "drop":
            return
        if act == "delay" or (act == "reorder" and seen % 2):
            _later(seconds, lambda: self._dispatch(event, view))
            return
        self._dispatch(event, view)
        if act == "double":
            _later(seconds, lambda: self._dispatch(event, view))
        elif act == "replay" and kind in self._before:
            self._dispatch(self._before[kind], view)
        elif act is None:
            self._before[kind] = event

    def _fault(self, kind: str) -> tuple[dict[str, Any], int]:
        fault = read_json(self._path).get(kind)
        if fault is None:
            return {}, 0
        key = (self._path.stat().st_mtime_ns, kind)
        self._seen[key] = self._seen.get(key, 0) + 1
        return (fault if self._seen[key] <= int(fault.get("times", self._seen[key])) else {}), self._seen[key]


def _later(seconds: float, act: Callable[[], None]) -> None:
    # The account and region of the event are in its context.
    timer = threading.Timer(seconds, contextvars.copy_context().run, (act,))
    timer.daemon = True
    timer.start()
