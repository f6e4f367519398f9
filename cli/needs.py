"""What a run needs, each looked at as the controller will. Runs on a person's machine."""

import math
import shlex
from dataclasses import dataclass
from datetime import UTC, datetime

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from cli.stack import Stack
from contracts import layout
from contracts.documents import Document
from contracts.models import needs_weights
from contracts.prices import MINIMUM_BILLED_SECONDS, prices, run_cost, usd_per_hour, vcpus
from contracts.reasons import MonthlyBudgetExceeded
from lambdas.adapters.objects import Objects
from lambdas.adapters.quotas import vcpu_quota
from lambdas.adapters.runs_table import RunsTable
from lambdas.core import acceptance
from lambdas.core.budget import month_of
from lambdas.core.ladder import QUOTA_CODES, markets
from lambdas.flows.staged import dataset_folder, weights_folder

OK, MISSING, UNKNOWN = "ok", "missing", "unknown"
DEPLOY_AGAIN = "the deployed stack is of an earlier version and does not say; deploy again: cdk deploy"


@dataclass(frozen=True)
class Need:
    """One thing a run needs: its state, what was found, and what to do when it is missing."""

    name: str
    state: str
    found: str
    remedy: str = ""


def summary(request: Document) -> str:
    """Return in a line what a request asks for."""
    kinds = ", ".join(request["instance_types"])
    return f"{', '.join(request['models'])}, at most {request['max_runtime_minutes']:g} minutes on {kinds}"


def dataset(request: Document, stack: Stack) -> Need:
    """Look at the data set as AcceptRun does; raises DatasetNotFound, DatasetInvalid."""
    folder = dataset_folder(Objects(stack.bucket), request)
    size = sum(entry["bytes"] for entry in folder["objects"]) / 1e6
    chosen = "" if request["dataset"] else ", the newest"
    return Need("data set", OK, f"{folder['name']}{chosen}: {len(folder['objects'])} files, {size:.1f} MB")


def weights(request: Document, stack: Stack) -> Need:
    """Look at the Chronos weights as AcceptRun does; raises ModelWeightsMissing."""
    folder = weights_folder(Objects(stack.bucket), request)
    if folder is None:
        return Need("model weights", OK, "no model of the request needs any")
    size = sum(entry["bytes"] for entry in folder["objects"]) / 1e6
    return Need("model weights", OK, f"{folder['name']}: {len(folder['objects'])} files, {size:.1f} MB")


def quota(request: Document, stack: Stack) -> Need:
    """Look at the vCPU quota of each market that the request allows; raises QuotaTooLow."""
    del stack
    needed = min(vcpus(kind) for kind in request["instance_types"])
    quotas: dict[str, float | None] = {}
    lines = []
    for market in markets(request["market"], 1):
        try:
            quotas[market] = value = vcpu_quota(market)
            lines.append(f"{market} {value:g}")
        except (ClientError, BotoCoreError) as error:
            quotas[market] = None
            lines.append(f"{market} ({QUOTA_CODES[market]}) not readable: {error}")
    acceptance.check_quota(request, quotas)
    known = any(value is not None and value >= needed for value in quotas.values())
    return Need("vCPU quota", OK if known else UNKNOWN, f"needs {needed}, found {'; '.join(lines)}")


def offerings(request: Document, stack: Stack) -> Need:
    """Look at which instance types are offered in the zones of the stack's subnets.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeInstanceTypeOfferings.html
    """
    if not stack.subnet_ids:
        return Need("instance types", UNKNOWN, DEPLOY_AGAIN)
    ec2 = boto3.client("ec2")
    subnets = ec2.describe_subnets(SubnetIds=list(stack.subnet_ids))["Subnets"]
    zones = sorted(subnet["AvailabilityZone"] for subnet in subnets)
    wanted = [{"Name": "instance-type", "Values": request["instance_types"]}]
    pages = ec2.get_paginator("describe_instance_type_offerings").paginate(
        LocationType="availability-zone", Filters=wanted
    )
    offered = {(one["InstanceType"], one["Location"]) for page in pages for one in page["InstanceTypeOfferings"]}
    by_kind = {kind: [zone for zone in zones if (kind, zone) in offered] for kind in request["instance_types"]}
    found = "; ".join(f"{kind} in {', '.join(there) or 'no zone'} of {len(zones)}" for kind, there in by_kind.items())
    if any(by_kind.values()):
        return Need("instance types", OK, found)
    command = (
        "aws ec2 describe-instance-type-offerings --location-type availability-zone "
        "--filters 'Name=instance-type,Values=g4dn.*' --query 'InstanceTypeOfferings[].[InstanceType,Location]' "
        "--output text"
    )
    return Need("instance types", MISSING, found, f"Set instance_types to what is offered: {command}")


def capacity(request: Document, stack: Stack) -> Need:
    """Say how long the run goes on asking when AWS has no capacity, which nobody can look up beforehand."""
    del stack
    minutes = request["capacity_wait_minutes"]
    if not minutes:
        return Need("capacity", OK, "asked for once; with capacity_wait_minutes the run would go on asking")
    found = f"asked for once a minute, for {minutes:g} of the {request['max_runtime_minutes']:g} minutes at most"
    return Need("capacity", OK, f"{found}; no machine is paid for meanwhile")


def image(request: Document, stack: Stack) -> Need:
    """Look at the public parameter that names the machine image."""
    del request, stack
    ssm = boto3.client("ssm")
    try:
        value = ssm.get_parameter(Name=layout.AMI_PARAMETER)["Parameter"]["Value"]
    except ssm.exceptions.ParameterNotFound:
        folder = layout.AMI_PARAMETER.split("base-")[0]
        return Need(
            "machine image",
            MISSING,
            f"expected the parameter {layout.AMI_PARAMETER} in this region, found none",
            f"Deploy in a region that has it; see: aws ssm get-parameters-by-path --path {folder} --recursive "
            "--query 'Parameters[].Name' --output text",
        )
    return Need("machine image", OK, str(value))


def cost(request: Document, stack: Stack) -> Need:
    """Say what a run costs at least, an hour, and at most; raises CostCapTooLow."""
    del stack
    most = acceptance.estimate(request)
    choices = acceptance.choices(request)
    least = min(run_cost(*one, seconds=MINIMUM_BILLED_SECONDS, heartbeats=0).total_usd for one in choices)
    hourly = "; ".join(f"{kind} {market} {usd_per_hour(kind, market):.3f} USD an hour" for kind, market in choices)
    acceptance.check_cost(request, most)
    return Need(
        "cost",
        OK,
        f"{least:.2f} USD at least (EC2 bills a minute), {most.total_usd:.2f} at most, "
        f"max_cost_usd {request['max_cost_usd']:g}; "
        f"{hourly} with volume and address (prices of {prices()['as_of']}, {prices()['region']})",
    )


def budget(request: Document, stack: Stack) -> Need:
    """Look at what is left of the month's budget."""
    if stack.monthly_budget_usd is None:
        return Need("monthly budget", UNKNOWN, DEPLOY_AGAIN)
    month = month_of(layout.run_id_at(datetime.now(UTC), 1))
    spent = RunsTable(stack.runs_table).month(month).committed_usd
    most = acceptance.estimate(request).total_usd
    try:
        acceptance.check_budget(most, spent, stack.monthly_budget_usd)
    except MonthlyBudgetExceeded as error:
        command = f"cdk deploy -c monthly_budget_usd={math.ceil(spent + most)}"
        return Need("monthly budget", MISSING, error.message, command)
    return Need("monthly budget", OK, f"{spent:.2f} of {stack.monthly_budget_usd:g} USD spent or reserved")


def remedy(code: str, request: Document, stack: Stack) -> str:
    """Return the command that gets what a reason code says is missing."""
    bucket = f"s3://{stack.bucket}"
    least_cap = math.ceil(100 * acceptance.estimate(request).total_usd) / 100
    named = f"{bucket}/{layout.DATASETS}{request['dataset'] or 'my-data'}/"
    weights_to = shlex.quote(f"{bucket}/{layout.MODEL_WEIGHTS}{request['chronos_weights']}/")
    commands = {
        "DatasetNotFound": f"aws s3 cp my-data.parquet {shlex.quote(named)}",
        "DatasetInvalid": "Upload the corrected file in its place; where they are: aws s3 ls --recursive "
        + shlex.quote(f"{bucket}/{layout.DATASETS}"),
        "ModelWeightsMissing": f"aws s3 sync models/chronos-bolt-nano {weights_to} --exclude '*.md'"
        if needs_weights(request["models"])
        else "",
        "CostCapTooLow": f'Put "max_cost_usd": {least_cap:.2f} into the request, or lower max_runtime_minutes.',
    }
    return commands.get(code, "")
