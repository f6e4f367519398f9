"""What IAM has to allow for a call, where MiniStack names less than AWS asks. Runs in the cloud's server.

After https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html
(per service: actions, resource types, condition keys) and the pages named at the functions.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ministack.core import responses
from ministack.services import ec2, iam

from local import launch_template

Context = dict[str, Any]
Query = Mapping[str, Any]


@dataclass(frozen=True)
class Check:
    """One question to IAM: whether the caller may do this to that, with these condition keys in the request."""

    action: str
    resource: str
    context: Context = field(default_factory=dict)


class Authorization:
    """Finds the checks of a call.

    Parameters
    ----------
    state_machine_of : callable
        Gives the ARN of the state machine whose execution waits for a task token, "" for an unknown token.
    """

    def __init__(self, state_machine_of: Callable[[str], str]) -> None:
        self._state_machine_of = state_machine_of

    def checks(self, check: Check, body: bytes, query: Query) -> list[Check]:
        """Return what AWS asks IAM for a call of which MiniStack would ask `check`."""
        service, _, operation = check.action.partition(":")
        if check.action == "ec2:RunInstances":
            return launch(dict(query))
        if service == "ec2":
            return [_tagged(check)]
        if service == "scheduler" and ":schedule/" in check.resource:
            return scheduled(check, body, query)
        if operation.startswith("SendTask"):
            # Tied to the state machine by AWS in fact, though its reference names no resource type:
            # https://github.com/aws/aws-cdk/pull/8486
            return [Check(check.action, self._state_machine_of(json.loads(body)["taskToken"]) or "*")]
        return [check]


def launch(parameters: dict[str, Any]) -> list[Check]:
    """Return the checks of RunInstances: all that is created and used, tags, the role, the image's parameter.

    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ExamplePolicies_EC2.html#iam-example-runinstances
    """
    template, error = launch_template.read_template(parameters)
    if error:
        return [Check("ec2:RunInstances", "*")]
    asked = launch_template.merge(parameters, template)
    from_template = _ec2(f"launch-template/{parameters['LaunchTemplate.LaunchTemplateId'][0]}")
    common = {"ec2:LaunchTemplate": from_template}
    tokens = (template.get("MetadataOptions") or {}).get("HttpTokens", "optional")
    created = {"instance": {**common, "ec2:MetadataHttpTokens": tokens}, "volume": common, "network-interface": common}
    if asked.market == "spot":
        created["spot-instances-request"] = {}
    used = [f"subnet/{asked.subnet_id}", *(f"security-group/{group}" for group in asked.security_groups)]
    checks = [
        Check("ec2:RunInstances", _ec2(f"{kind}/*"), {**context, **_request_tags(asked.tags.get(kind, {}))})
        for kind, context in created.items()
    ]
    checks += [Check("ec2:RunInstances", _ec2(name), common) for name in used]
    checks += [Check("ec2:RunInstances", from_template, common)]
    checks += [Check("ec2:RunInstances", f"arn:aws:ec2:{responses.get_region()}::image/ami-00000000", common)]
    checks += [
        Check("ec2:CreateTags", _ec2(f"{kind}/*"), {"ec2:CreateAction": "RunInstances", **_request_tags(tags)})
        for kind, tags in asked.tags.items()
    ]
    return checks + _image_parameter(str(template.get("ImageId"))) + _passed(asked.profile)


def scheduled(check: Check, body: bytes, query: Query) -> list[Check]:
    """Return the checks of a schedule's calls: the schedule in its group, and the role that it is given.

    https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazoneventbridgescheduler.html
    """
    told = json.loads(body) if body else {}
    group = told.get("GroupName") or query["groupName"][0]
    checks = [Check(check.action, check.resource.replace(":schedule/default/", f":schedule/{group}/"))]
    if role := told.get("Target", {}).get("RoleArn"):
        checks.append(Check("iam:PassRole", role, {"iam:PassedToService": "scheduler.amazonaws.com"}))
    return checks


def role_of_profile(profile: Mapping[str, Any]) -> str:
    """Return the name of an instance profile's role, "" when there is none."""
    name = profile.get("Name") or str(profile.get("Arn", "")).rpartition("/")[2]
    roles = iam._instance_profiles.get(name, {}).get("Roles", [])
    return "" if not roles else str(roles[0] if isinstance(roles[0], str) else roles[0]["RoleName"])


def _passed(profile: Mapping[str, Any]) -> list[Check]:
    role = role_of_profile(profile)
    arn = f"arn:aws:iam::{responses.get_account_id()}:role/{role}"
    return [Check("iam:PassRole", arn, {"iam:PassedToService": "ec2.amazonaws.com"})] if role else []


def _image_parameter(image: str) -> list[Check]:
    # https://docs.aws.amazon.com/autoscaling/ec2/userguide/using-systems-manager-parameters.html
    _, found, name = image.partition("resolve:ssm:")
    return [Check("ssm:GetParameters", f"arn:aws:ssm:{responses.get_region()}::parameter{name}")] if found else []


def _tagged(check: Check) -> Check:
    """Return a check of an EC2 call with the tags of what it is about; Describe calls are about everything."""
    if ":Describe" in check.action:
        return Check(check.action, "*")
    tags = ec2._tags.get(check.resource.rpartition("/")[2]) or []
    return Check(check.action, check.resource, {f"aws:ResourceTag/{tag['Key']}": tag["Value"] for tag in tags})


def _request_tags(tags: Mapping[str, str]) -> Context:
    return {f"aws:RequestTag/{key}": value for key, value in tags.items()}


def _ec2(name: str) -> str:
    return f"arn:aws:ec2:{responses.get_region()}:{responses.get_account_id()}:{name}"
