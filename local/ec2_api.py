"""The EC2 actions that concern hosted instances, put in place of MiniStack's. Runs in the cloud's server.

Follows https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_TerminateInstances.html, API_StopInstances,
API_GetConsoleOutput, API_DescribeInstanceAttribute and API_StateReason (why an instance ended). In MiniStack instances
are records that never change by themselves and end for no reason, and GetConsoleOutput is not there.
"""

import base64
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from xml.sax.saxutils import escape

from ministack.services import ec2

from local.ec2_host import CODES, Ec2Host
from local.launch_template import Answer, Launcher, Parameters

TERMINATED_BY_USER = "Client.UserInitiatedShutdown: User initiated shutdown"
Act = Callable[[str, str], None]


class Ec2Actions:
    """Answers the EC2 actions that the host has a say in.

    Parameters
    ----------
    host : Ec2Host
        Runs the instances.
    launcher : Launcher
        Answers RunInstances.
    """

    def __init__(self, host: Ec2Host, launcher: Launcher) -> None:
        self._host = host
        self._launcher = launcher
        self._describe_attribute = ec2._describe_instance_attribute
        self._instance_xml = ec2._instance_xml

    def install(self) -> None:
        """Take the actions over from MiniStack."""
        ec2._instance_xml = self.instance_xml
        ec2._ACTION_MAP.update(
            {
                "RunInstances": self._launcher.run_instances,
                "TerminateInstances": self.terminate_instances,
                "StopInstances": self.stop_instances,
                "GetConsoleOutput": self.get_console_output,
                "DescribeInstanceAttribute": self.describe_instance_attribute,
            }
        )

    def terminate_instances(self, parameters: Parameters) -> Answer:
        """Answer TerminateInstances: shutting-down now, terminated when the processes are gone."""
        return self._change(parameters, "TerminateInstancesResponse", self._host.terminate, ec2._terminate_instances)

    def stop_instances(self, parameters: Parameters) -> Answer:
        """Answer StopInstances; a one-time spot instance cannot be stopped."""
        for instance_id in ec2._parse_member_list(parameters, "InstanceId"):
            if (ec2._instances.get(instance_id) or {}).get("InstanceLifecycle") == "spot":
                message = f"You can't stop the Spot Instance '{instance_id}' because it is a one-time request."
                return ec2._error("UnsupportedOperation", message, 400)  # type: ignore[no-any-return]
        return self._change(parameters, "StopInstancesResponse", self._host.stop, ec2._stop_instances)

    def get_console_output(self, parameters: Parameters) -> Answer:
        """Answer GetConsoleOutput with the last 64 KiB of what user data wrote."""
        instance_id = str(ec2._p(parameters, "InstanceId"))
        if not self._host.hosts(instance_id):
            return _unknown(instance_id)
        output = base64.b64encode(self._host.get(instance_id).machine.console_tail()).decode()
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        inner = f"<instanceId>{instance_id}</instanceId><timestamp>{now}</timestamp><output>{output}</output>"
        return ec2._xml(200, "GetConsoleOutputResponse", inner)  # type: ignore[no-any-return]

    def describe_instance_attribute(self, parameters: Parameters) -> Answer:
        """Answer DescribeInstanceAttribute with the real user data and shutdown behaviour."""
        instance_id, name = str(ec2._p(parameters, "InstanceId")), ec2._p(parameters, "Attribute")
        if not self._host.hosts(instance_id) or name not in ("userData", "instanceInitiatedShutdownBehavior"):
            return self._describe_attribute(parameters)  # type: ignore[no-any-return]
        launch = self._host.get(instance_id).launch
        value = launch.user_data if name == "userData" else launch.shutdown_behavior
        inner = f"<instanceId>{instance_id}</instanceId><{name}><value>{escape(value)}</value></{name}>"
        return ec2._xml(200, "DescribeInstanceAttributeResponse", inner)  # type: ignore[no-any-return]

    def instance_xml(self, record: Any) -> str:
        """Return an instance as DescribeInstances shows it, with what MiniStack leaves out."""
        extra = f"<clientToken>{escape(record.get('ClientToken', ''))}</clientToken>"
        if lifecycle := record.get("InstanceLifecycle"):
            extra += f"<instanceLifecycle>{lifecycle}</instanceLifecycle>"
        if reason := record.get("StateReason"):
            code = reason.partition(":")[0]
            extra += f"<stateReason><code>{code}</code><message>{escape(reason)}</message></stateReason>"
            extra += f"<reason>{escape(record.get('StateTransitionReason', ''))}</reason>"
        head, _, _ = self._instance_xml(record).rpartition("</item>")
        return f"{head}{extra}</item>"

    def _change(self, parameters: Parameters, root: str, act: Act, original: Any) -> Answer:
        instance_ids = ec2._parse_member_list(parameters, "InstanceId")
        for instance_id in instance_ids:
            if instance_id not in ec2._instances:
                return _unknown(instance_id)
        if not all(self._host.hosts(instance_id) for instance_id in instance_ids):
            # Made by CreateFleet or by a stack: a record only, MiniStack's own.
            return original(parameters)  # type: ignore[no-any-return]
        items = "".join(self._changed(instance_id, act) for instance_id in instance_ids)
        return ec2._xml(200, root, f"<instancesSet>{items}</instancesSet>")  # type: ignore[no-any-return]

    def _changed(self, instance_id: str, act: Act) -> str:
        record = ec2._instances[instance_id]
        before = record["State"]["Name"]
        act(instance_id, TERMINATED_BY_USER)
        after = record["State"]["Name"]
        states = "".join(
            f"<{tag}><code>{CODES[name]}</code><name>{name}</name></{tag}>"
            for tag, name in (("previousState", before), ("currentState", after))
        )
        return f"<item><instanceId>{instance_id}</instanceId>{states}</item>"


def _unknown(instance_id: str) -> Answer:
    message = f"The instance ID '{escape(instance_id)}' does not exist"
    return ec2._error("InvalidInstanceID.NotFound", message, 400)  # type: ignore[no-any-return]
