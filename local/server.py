"""The embedded cloud's server: MiniStack with what it lacks. Runs as a child process of `local.cloud`."""

import os
import signal
import sys
import threading
import time
from functools import partial
from pathlib import Path

from ministack import app

from local import (
    ec2_filters,
    instance_offerings,
    policy_variables,
    processes,
    public_images,
    retries,
    sdk_pace,
    spot_prices,
    stack_deletion,
)
from local.async_invocations import AsyncInvocations
from local.authorization import Authorization
from local.call_log import CallLog
from local.callbacks import Callbacks
from local.capacity import CapacityFaults
from local.control import Control
from local.ec2_api import Ec2Actions
from local.ec2_host import Ec2Host, Timing
from local.event_faults import EventFaults
from local.function_faults import FunctionFaults
from local.lambda_errors import LambdaErrors
from local.launch_template import Launcher
from local.permissions import Permissions
from local.redrive import Redrive
from local.service_quotas import ServiceQuotas
from local.state_folder import CLOUD_MARKER, PARENT_MARKER, StateFolder, write_json
from local.task_faults import TaskFaults
from local.wrong_clock import ClockCheck

MINUTE_SECONDS = "CHRONOS_LOCAL_MINUTE_SECONDS"
SPOT_NOTICE_SECONDS = "CHRONOS_LOCAL_SPOT_NOTICE_SECONDS"
CHANGE_SECONDS = "CHRONOS_LOCAL_CHANGE_SECONDS"
POWEROFF_SECONDS = "CHRONOS_LOCAL_POWEROFF_SECONDS"
INSTANCE_ENDPOINT = "CHRONOS_LOCAL_INSTANCE_ENDPOINT"


def main() -> None:
    """Put the pieces in place and serve until SIGTERM, or until the parent process is gone."""
    folder = StateFolder(Path(sys.argv[1]))
    host = build(folder)
    if parent := os.environ.get(PARENT_MARKER):
        threading.Thread(target=_end_with, args=(int(parent),), daemon=True).start()
    try:
        sys.argv = sys.argv[:1]
        app.main()
    finally:
        host.close()
        folder.server.unlink(missing_ok=True)


def build(folder: StateFolder) -> Ec2Host:
    """Put every piece over MiniStack; returns the host, which has to be closed at the end."""
    minute = float(os.environ.get(MINUTE_SECONDS, Timing.minute_seconds))
    notice = float(os.environ.get(SPOT_NOTICE_SECONDS, Timing.spot_notice_seconds))
    change = float(os.environ.get(CHANGE_SECONDS, Timing.change_seconds))
    poweroff = float(os.environ.get(POWEROFF_SECONDS, Timing.poweroff_seconds))
    timing = Timing(change, minute, notice, poweroff)
    host = Ec2Host(folder, instance_environment(folder), timing)
    LambdaErrors().install()
    function_faults = FunctionFaults(folder.functions)
    function_faults.install()
    invocations = AsyncInvocations(function_faults)
    invocations.install()
    control = Control(host, invocations.pending)
    host.control_url = control.url
    Ec2Actions(host, Launcher(CapacityFaults(folder.capacity), host.launched)).install()
    ec2_filters.install()
    public_images.install()
    instance_offerings.install()
    spot_prices.install()
    sdk_pace.install()
    retries.install()
    stack_deletion.install()
    callbacks = Callbacks()
    callbacks.install()
    Redrive(callbacks).install()
    ClockCheck().install()
    CallLog(folder.calls).install()
    TaskFaults(folder.tasks).install()
    EventFaults(folder.events).install()
    ServiceQuotas(folder.quotas).install()
    policy_variables.install()
    Permissions(folder.permissions, Authorization(callbacks.state_machine_of)).install()
    port = int(os.environ["GATEWAY_PORT"])
    write_json(folder.server, {"pid": os.getpid(), "port": port, "control_url": control.url})
    return host


def instance_environment(folder: StateFolder) -> dict[str, str]:
    """Return what every instance's environment holds: endpoint, region, credentials and the cloud's marker."""
    region = os.environ["AWS_DEFAULT_REGION"]
    return {
        CLOUD_MARKER: folder.identity,
        "AWS_ENDPOINT_URL": os.environ.get(INSTANCE_ENDPOINT) or f"http://127.0.0.1:{os.environ['GATEWAY_PORT']}",
        "AWS_DEFAULT_REGION": region,
        "AWS_REGION": region,
        "AWS_ACCESS_KEY_ID": os.environ["AWS_ACCESS_KEY_ID"],
        "AWS_SECRET_ACCESS_KEY": os.environ["AWS_SECRET_ACCESS_KEY"],
    }


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    # The parent was killed and cannot clean up, so everything that carries this cloud's marker ends here.
    processes.kill(partial(processes.find, CLOUD_MARKER, os.environ[CLOUD_MARKER]))
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
