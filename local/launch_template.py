"""RunInstances that honours launch templates and client tokens. Runs inside the embedded cloud's server.

Follows https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_RunInstances.html and
https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-idempotency.html. MiniStack ignores both parameters.
"""

import contextlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ministack.core import responses
from ministack.services import ec2

from local import capacity

Parameters = dict[str, Any]
Answer = tuple[int, dict[str, str], bytes]
Tags = dict[str, dict[str, str]]


@dataclass(frozen=True)
class Launch:
    """What one RunInstances call asks for, request and template merged.

    Parameters
    ----------
    market : str
        `on_demand` or `spot`.
    user_data : str
        Base64, as EC2 keeps it.
    tags : dict
        Resource type -> tag key -> value.
    volume : dict
        `Ebs` part of the root volume's block device mapping.
    """

    image_id: str
    instance_type: str
    subnet_id: str
    zone: str
    security_groups: list[str]
    profile: dict[str, str]
    user_data: str
    market: str
    shutdown_behavior: str
    client_token: str
    count: int
    key_name: str = ""
    metadata_tags: bool = False
    tags: Tags = field(default_factory=dict)
    volume: dict[str, Any] = field(default_factory=dict)


class Launcher:
    """Answers RunInstances.

    Parameters
    ----------
    faults : CapacityFaults
        Launch errors asked for by tests.
    launched : callable
        Called with each new instance record and its launch; the EC2 host takes over from there.
    """

    def __init__(self, faults: capacity.CapacityFaults, launched: Callable[[Any, Launch], None]) -> None:
        self._faults = faults
        self._launched = launched
        self._tokens: dict[tuple[str, str, str], tuple[str, list[str]]] = {}

    def run_instances(self, parameters: Parameters) -> Answer:
        """Answer RunInstances with pending instances, or with the instances an earlier call with the token made."""
        template, error = read_template(parameters)
        if error:
            return error
        launch = merge(parameters, template)
        known = self._tokens.get(_token_key(launch))
        if launch.client_token and known:
            return self._unless_told(launch, _repeat(known, parameters))
        if code := self._faults.error_for(launch.instance_type, launch.market, launch.zone):
            return _refused(code, launch)
        records = [self._create(launch) for _ in range(launch.count)]
        if launch.client_token:
            self._tokens[_token_key(launch)] = (_fingerprint(parameters), [r["InstanceId"] for r in records])
        return self._unless_told(launch, _reservation(records))

    def _unless_told(self, launch: Launch, answer: Answer) -> Answer:
        """Return the answer, or the error that is told in its place."""
        code = self._faults.error_for(launch.instance_type, launch.market, launch.zone, made=True)
        return _refused(code, launch) if code else answer

    def _create(self, launch: Launch) -> Any:
        (record,) = ec2._launch_instances_internal(
            image_id=launch.image_id,
            instance_type=launch.instance_type,
            subnet_id=launch.subnet_id,
            count=1,
            key_name=launch.key_name,
            user_data=launch.user_data,
            sg_ids=launch.security_groups,
            iam_profile=_profile(launch),
        )
        _complete(record, launch)
        self._launched(record, launch)
        return record


def _refused(code: str, launch: Launch) -> Answer:
    message = capacity.describe(code, launch.instance_type, launch.zone)
    return ec2._error(code, message, capacity.status_of(code))  # type: ignore[no-any-return]


def merge(parameters: Parameters, template: dict[str, Any]) -> Launch:
    """Merge request parameters over launch template data; tags of both are united, the request's win."""
    subnet = _subnet(parameters, template)
    options = parameters.get("InstanceMarketOptions.MarketType") or [
        (template.get("InstanceMarketOptions") or {}).get("MarketType", "")
    ]
    return Launch(
        image_id=_text(parameters, "ImageId") or template.get("ImageId") or "ami-00000000",
        instance_type=_text(parameters, "InstanceType") or template.get("InstanceType") or "t2.micro",
        subnet_id=subnet,
        zone=(ec2._subnets.get(subnet) or {}).get("AvailabilityZone") or f"{responses.get_region()}a",
        security_groups=_groups(parameters, template),
        profile=_named_profile(parameters) or dict(template.get("IamInstanceProfile") or {}),
        user_data=_text(parameters, "UserData") or template.get("UserData") or "",
        market="spot" if "spot" in options else "on_demand",
        shutdown_behavior=_text(parameters, "InstanceInitiatedShutdownBehavior")
        or template.get("InstanceInitiatedShutdownBehavior")
        or "stop",
        client_token=_text(parameters, "ClientToken"),
        count=int(_text(parameters, "MaxCount") or 1),
        key_name=_text(parameters, "KeyName") or template.get("KeyName") or "",
        metadata_tags=_metadata_tags(parameters, template),
        tags=_united(template_tags(template), request_tags(parameters)),
        volume=_volume(parameters, template),
    )


def request_tags(parameters: Parameters) -> Tags:
    """Return the TagSpecification.N parameters as resource type -> key -> value."""
    tags: Tags = {}
    for name in parameters:
        if matched := re.fullmatch(r"TagSpecification\.(\d+)\.Tag\.(\d+)\.Key", name):
            kind = _text(parameters, f"TagSpecification.{matched[1]}.ResourceType")
            value = _text(parameters, f"TagSpecification.{matched[1]}.Tag.{matched[2]}.Value")
            tags.setdefault(kind, {})[_text(parameters, name)] = value
    return tags


def template_tags(template: dict[str, Any]) -> Tags:
    """Return a template's TagSpecifications as resource type -> key -> value."""
    return {
        spec["ResourceType"]: {tag["Key"]: str(tag.get("Value", "")) for tag in spec.get("Tags") or []}
        for spec in template.get("TagSpecifications") or []
    }


def read_template(parameters: Parameters) -> tuple[dict[str, Any], Answer | None]:
    """Return the data of the launch template that a request names, or EC2's error."""
    spec = {key: _text(parameters, f"LaunchTemplate.{key}") for key in ("LaunchTemplateId", "LaunchTemplateName")}
    version = _text(parameters, "LaunchTemplate.Version")
    data, record, error = ec2._resolve_launch_template_data({**spec, "Version": version})
    if error or record is None:
        return {}, error
    numbers = {str(known["VersionNumber"]) for known in record["Versions"]}
    if version and version not in numbers | {"$Default", "$Latest"}:
        message = f"Could not find the specified version {version} for the launch template."
        return {}, ec2._error("InvalidLaunchTemplateId.VersionNotFound", message, 400)
    return data, None


def _text(parameters: Parameters, name: str) -> str:
    return str(ec2._p(parameters, name) or "")


def _subnet(parameters: Parameters, template: dict[str, Any]) -> str:
    interfaces = template.get("NetworkInterfaces") or [{}]
    return str(
        _text(parameters, "SubnetId")
        or _text(parameters, "NetworkInterface.1.SubnetId")
        or interfaces[0].get("SubnetId")
        or ec2._DEFAULT_SUBNET_ID
    )


def _groups(parameters: Parameters, template: dict[str, Any]) -> list[str]:
    asked = ec2._parse_member_list(parameters, "SecurityGroupId")
    asked = asked or ec2._parse_member_list(parameters, "NetworkInterface.1.SecurityGroupId")
    interfaces = template.get("NetworkInterfaces") or [{}]
    return list(asked or template.get("SecurityGroupIds") or interfaces[0].get("Groups") or [])


def _named_profile(parameters: Parameters) -> dict[str, str]:
    named = {key: _text(parameters, f"IamInstanceProfile.{key}") for key in ("Arn", "Name")}
    return {key: value for key, value in named.items() if value}


def _profile(launch: Launch) -> Any:
    if not launch.profile:
        return None
    arn, name = launch.profile.get("Arn", ""), launch.profile.get("Name", "")
    profile, _ = ec2._resolve_iam_instance_profile(iam_arn=arn, iam_name=name, allow_missing=True)
    return profile


def _metadata_tags(parameters: Parameters, template: dict[str, Any]) -> bool:
    asked = _text(parameters, "MetadataOptions.InstanceMetadataTags")
    return (asked or (template.get("MetadataOptions") or {}).get("InstanceMetadataTags")) == "enabled"


def _volume(parameters: Parameters, template: dict[str, Any]) -> dict[str, Any]:
    mappings = template.get("BlockDeviceMappings") or [{}]
    volume = dict(mappings[0].get("Ebs") or {})
    for key in ("VolumeSize", "VolumeType", "Encrypted", "DeleteOnTermination", "SnapshotId"):
        if value := _text(parameters, f"BlockDeviceMapping.1.Ebs.{key}"):
            volume[key] = value
    return volume


def _united(first: Tags, second: Tags) -> Tags:
    return {kind: {**first.get(kind, {}), **second.get(kind, {})} for kind in first.keys() | second.keys()}


def _complete(record: Any, launch: Launch) -> None:
    record["State"] = {"Code": 0, "Name": "pending"}
    record["Placement"]["AvailabilityZone"] = launch.zone
    record["ClientToken"] = launch.client_token
    record["InstanceInitiatedShutdownBehavior"] = launch.shutdown_behavior
    if launch.market == "spot":
        record["InstanceLifecycle"] = "spot"
    _tag(record["InstanceId"], launch.tags.get("instance", {}))
    for mapping in record["BlockDeviceMappings"]:
        _complete_volume(mapping["Ebs"], launch)


def _complete_volume(mapping: Any, launch: Launch) -> None:
    volume = ec2._volumes[mapping["VolumeId"]]
    kept = str(launch.volume.get("DeleteOnTermination", True)).lower() == "false"
    volume["AvailabilityZone"] = launch.zone
    volume["Size"] = int(launch.volume.get("VolumeSize") or volume["Size"])
    volume["VolumeType"] = launch.volume.get("VolumeType") or volume["VolumeType"]
    volume["Encrypted"] = str(launch.volume.get("Encrypted", False)).lower() == "true"
    mapping["DeleteOnTermination"] = not kept
    volume["Attachments"][0]["DeleteOnTermination"] = not kept
    _tag(mapping["VolumeId"], launch.tags.get("volume", {}))


def _tag(resource: str, tags: dict[str, str]) -> None:
    if tags:
        ec2._tags[resource] = [{"Key": key, "Value": value} for key, value in tags.items()]


def _token_key(launch: Launch) -> tuple[str, str, str]:
    return responses.get_account_id(), responses.get_region(), launch.client_token


def _fingerprint(parameters: Parameters) -> str:
    return json.dumps({name: _text(parameters, name) for name in sorted(parameters)})


def _repeat(known: tuple[str, list[str]], parameters: Parameters) -> Answer:
    fingerprint, instance_ids = known
    if fingerprint != _fingerprint(parameters):
        message = "The request uses the same client token as a previous, but non-identical request."
        return ec2._error("IdempotentParameterMismatch", message, 400)  # type: ignore[no-any-return]
    records = []
    for instance_id in instance_ids:
        with contextlib.suppress(KeyError):
            records.append(ec2._instances[instance_id])
    return _reservation(records)


def _reservation(records: list[Any]) -> Answer:
    items = "".join(ec2._instance_xml(record) for record in records)
    inner = (
        f"<reservationId>r-{responses.new_uuid().replace('-', '')[:17]}</reservationId>"
        f"<ownerId>{responses.get_account_id()}</ownerId><groupSet/><instancesSet>{items}</instancesSet>"
    )
    return ec2._xml(200, "RunInstancesResponse", inner)  # type: ignore[no-any-return]
