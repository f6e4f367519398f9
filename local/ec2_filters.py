"""Filters of DescribeInstances and DescribeNetworkInterfaces that MiniStack ignores. Runs in the cloud's server.

Follows https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeNetworkInterfaces.html and
API_DescribeInstances. A filter that neither knows is an error here as on AWS: ignoring one would return too much.
"""

from typing import Any

from ministack.services import ec2

from local.launch_template import Answer, Parameters

INSTANCE_FILTERS = frozenset(
    {"instance-id", "instance-lifecycle", "client-token", "vpc-id", "subnet-id", "availability-zone"}
)
INTERFACE_FILTERS = frozenset(
    {"network-interface-id", "status", "vpc-id", "subnet-id", "availability-zone", "description", "group-id"}
    | {"attachment.instance-id", "requester-id", "interface-type", "tag-key", "tag-value"}
)
KNOWN_TO_MINISTACK = frozenset({"instance-state-name", "instance-type", "image-id", "tag-key", "tag-value"})


def install() -> None:
    """Put the filters in place."""
    tag_and_state = ec2._matches_filters
    describe = ec2._describe_instances

    def matches(record: Any, filters: dict[str, list[str]]) -> bool:
        values = _instance(record)
        more = {name: wanted for name, wanted in filters.items() if name in values}
        return bool(tag_and_state(record, filters)) and _passes(values, more)

    def describe_instances(parameters: Parameters) -> Answer:
        return _refused(parameters, KNOWN_TO_MINISTACK | INSTANCE_FILTERS) or describe(parameters)

    ec2._matches_filters = matches
    ec2._ACTION_MAP["DescribeInstances"] = describe_instances
    ec2._ACTION_MAP["DescribeNetworkInterfaces"] = describe_network_interfaces


def describe_network_interfaces(parameters: Parameters) -> Answer:
    """Answer DescribeNetworkInterfaces with its filters applied."""
    wanted = ec2._parse_member_list(parameters, "NetworkInterfaceId")
    missing = [one for one in wanted if one not in ec2._network_interfaces]
    if missing:
        message = f"The networkInterface ID '{missing[0]}' does not exist"
        return ec2._error("InvalidNetworkInterfaceID.NotFound", message, 400)  # type: ignore[no-any-return]
    if refused := _refused(parameters, INTERFACE_FILTERS):
        return refused
    filters = ec2._parse_filters(parameters)
    named = {name: values for name, values in filters.items() if not name.startswith("tag")}
    found = [
        interface
        for interface in ec2._network_interfaces.values()
        if (not wanted or interface["NetworkInterfaceId"] in wanted)
        and ec2._resource_matches_tag_filters(interface["NetworkInterfaceId"], filters)
        and _passes(_interface(interface), named)
    ]
    items = "".join(ec2._eni_fields_xml(interface) for interface in found)
    inner = f"<networkInterfaceSet>{items}</networkInterfaceSet>"
    return ec2._xml(200, "DescribeNetworkInterfacesResponse", inner)  # type: ignore[no-any-return]


def _refused(parameters: Parameters, known: frozenset[str]) -> Answer | None:
    for name in ec2._parse_filters(parameters):
        if name not in known and not name.startswith("tag:"):
            return ec2._error("InvalidParameterValue", f"The filter '{name}' is invalid", 400)  # type: ignore[no-any-return]
    return None


def _passes(values: dict[str, list[str]], filters: dict[str, list[str]]) -> bool:
    return all(
        any(ec2._glob_match(pattern, value) for value in values.get(name, []) for pattern in patterns)
        for name, patterns in filters.items()
    )


def _instance(record: Any) -> dict[str, list[str]]:
    return {
        "instance-id": [record["InstanceId"]],
        "instance-lifecycle": [record.get("InstanceLifecycle", "")],
        "client-token": [record.get("ClientToken", "")],
        "vpc-id": [record["VpcId"]],
        "subnet-id": [record["SubnetId"]],
        "availability-zone": [record["Placement"]["AvailabilityZone"]],
    }


def _interface(record: Any) -> dict[str, list[str]]:
    attachment = record.get("Attachment") or {}
    return {
        "network-interface-id": [record["NetworkInterfaceId"]],
        "status": [record["Status"]],
        "vpc-id": [record["VpcId"]],
        "subnet-id": [record["SubnetId"]],
        "availability-zone": [record["AvailabilityZone"]],
        "description": [record["Description"]],
        "group-id": [group["GroupId"] for group in record["Groups"]],
        "attachment.instance-id": [attachment["InstanceId"]] if attachment else [],
        "requester-id": [],
        "interface-type": [record.get("InterfaceType", "interface")],
    }
