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

from local.fault_file import FaultFile


class EventFaults:
    """Decides what becomes of an event.

    Parameters
    ----------
    path : Path
        `events.json`; it is read at each event, so a test can change it at any time.
    """

    def __init__(self, path: Path) -> None:
        self._faults = FaultFile(path)
        self._dispatch = eventbridge._dispatch_event
        self._before: dict[str, Any] = {}

    def install(self) -> None:
        """Stand between the bus and its rules."""
        eventbridge._dispatch_event = self.dispatch

    def dispatch(self, event: Any, view: Any = None) -> None:
        """Match an event against the rules now, later, twice or never."""
        kind = str(event.get("DetailType") or event.get("detail-type"))
        fault = self._faults.ordered().get(kind, {})
        seen = self._faults.count(kind) if fault else 0
        act = fault.get("do") if seen <= int(fault.get("times", seen)) else None
        if act is None:
            self._before[kind] = event
            self._dispatch(event, view)
            return
        if act == "replay" and kind not in self._before:
            self._dispatch(event, view)
            return
        self._faults.note(kind)
        late = act == "delay" or (act == "reorder" and seen % 2)
        if act != "drop" and not late:
            self._dispatch(event, view)
        if late or act == "double":
            _later(float(fault.get("seconds", 0)), lambda: self._dispatch(event, view))
        elif act == "replay":
            self._dispatch(self._before[kind], view)


def _later(seconds: float, act: Callable[[], None]) -> None:
    # The account and region of the event are in its context.
    timer = threading.Timer(seconds, contextvars.copy_context().run, (act,))
    timer.daemon = True
    timer.start()
