"""HTTP endpoint through which instances shut down and tests break things. Runs in the cloud's server.

POST /instances/<id>/shutdown takes the arguments of the shutdown command, one a line. POST /instances/<id>/<fault>
takes a JSON object. GET /functions/pending tells the functions with asynchronous events under way. The address is in
server.json; it is on 127.0.0.1 only.
"""

import json
import re
import signal
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from local import machine_faults, processes
from local.ec2_host import Ec2Host
from local.wrong_clock import set_clock

ROUTE = re.compile(r"^/instances/(i-[0-9a-f]+)/([a-z]+)$")
PENDING = "/functions/pending"
Action = Callable[[str, str], str]


class Control:
    """Serves the endpoint for one host.

    Parameters
    ----------
    host : Ec2Host
        Gets the orders.
    pending : callable
        Returns the functions whose asynchronous events are under way.
    """

    def __init__(self, host: Ec2Host, pending: Callable[[], list[str]]) -> None:
        self._host = host
        self._pending = pending
        self._actions: dict[str, Action] = {
            "shutdown": self._shutdown,
            "hang": self._hang,
            "stall": self._stall,
            "resume": self._resume,
            "kill": self._kill,
            "interrupt": self._interrupt,
            "fill": lambda name, _: machine_faults.fill_disk(self._host.get(name).machine),
            "clock": self._clock,
            "exhaust": lambda name, _: machine_faults.exhaust_memory(self._host.get(name).machine),
        }
        control = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
                self._say(*control.answer(self.path, body))

            def do_GET(self) -> None:
                self._say(*control.tell(self.path))

            def _say(self, status: int, text: str) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(text.encode())))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: Any) -> None:
                """Stay silent: the action itself is what the logs are for."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.2,), daemon=True).start()

    @property
    def url(self) -> str:
        """Address of the endpoint."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def answer(self, path: str, body: str) -> tuple[int, str]:
        """Carry out one order; returns HTTP status and a sentence."""
        matched = ROUTE.match(path)
        if not matched or matched[2] not in self._actions:
            return 404, f"{path}: expected /instances/<id>/<one of {', '.join(self._actions)}>"
        try:
            return 200, self._actions[matched[2]](matched[1], body)
        except (KeyError, ValueError) as error:
            return 400, str(error.args[0])

    def tell(self, path: str) -> tuple[int, str]:
        """Answer one question; returns HTTP status and JSON, or a sentence."""
        if path != PENDING:
            return 404, f"{path}: expected {PENDING}"
        return 200, json.dumps(self._pending())

    def _shutdown(self, instance_id: str, body: str) -> str:
        minutes = shutdown_minutes(body.split("\n") if body else [])
        if minutes is None:
            self._host.cancel_shutdown(instance_id)
            return "Shutdown cancelled."
        self._host.shutdown(instance_id, minutes)
        return f"Shutdown scheduled in {minutes:g} minutes."

    def _hang(self, instance_id: str, _: str) -> str:
        frozen = processes.freeze(self._host.get(instance_id).machine.pids)
        return f"{len(frozen)} processes stopped"

    def _stall(self, instance_id: str, _: str) -> str:
        frozen = processes.freeze(self._host.get(instance_id).machine.worker_pids)
        if not frozen:
            raise ValueError(f"{instance_id}: expected a training worker, found none. Wait until the training began.")
        return f"{len(frozen)} worker processes stopped"

    def _resume(self, instance_id: str, _: str) -> str:
        pids = self._host.get(instance_id).machine.pids()
        processes.send(pids, signal.SIGCONT)
        return f"{len(pids)} processes continue"

    def _clock(self, instance_id: str, body: str) -> str:
        set_clock(self._host.get(instance_id).machine.folder, int(json.loads(body)["seconds"]))
        return "the clock is set"

    def _kill(self, instance_id: str, _: str) -> str:
        self._host.lose(instance_id)
        return "the machine is lost"

    def _interrupt(self, instance_id: str, body: str) -> str:
        self._host.interrupt(instance_id, (json.loads(body) if body else {}).get("notice_seconds"))
        return "interruption notice given"


def shutdown_minutes(arguments: list[str]) -> float | None:
    """Return the minutes until the end that a `shutdown` command line asks for, None for `-c` (cancel).

    Follows shutdown(8) of systemd: `now`, `+m`, and one minute when no time is given.

    Raises
    ------
    ValueError
        For a time this host does not understand (`hh:mm`), or for a reboot.
    """
    if "-c" in arguments:
        return None
    if {"-r", "--reboot"} & set(arguments):
        raise ValueError("shutdown -r: expected an end (-P, -h), found a reboot. Instances of a run never reboot.")
    time = next((argument for argument in arguments if not argument.startswith("-")), "+1")
    if time == "now":
        return 0.0
    if not re.fullmatch(r"\+?\d+", time):
        raise ValueError(f"shutdown: expected now or +minutes, found {time!r}.")
    return float(time)
