"""Where the deployed stack keeps things, read from its outputs. Runs on a person's machine."""

from dataclasses import dataclass

import boto3
from botocore.exceptions import BotoCoreError, ClientError

STACK_NAME = "ChronosTraining"


class StackMissing(RuntimeError):
    """The stack's outputs cannot be read; the message says what to do."""


@dataclass(frozen=True)
class Stack:
    """Outputs of the stack; a stack deployed from an earlier version does not name the last three."""

    state_machine_arn: str
    bucket: str
    runs_table: str
    subnet_ids: tuple[str, ...] = ()
    monthly_budget_usd: float | None = None
    machine_role_id: str = ""


def find_stack(name: str = STACK_NAME) -> Stack:
    """Return the outputs of the deployed stack `name`; raises StackMissing."""
    try:
        answer = boto3.client("cloudformation").describe_stacks(StackName=name)
    except (ClientError, BotoCoreError) as error:
        raise StackMissing(
            f"stack {name}: expected a deployed stack in this account and region, found none ({error}). "
            "Deploy it with `cdk deploy`, or use the embedded cloud: make local-up, "
            'then eval "$(make -s local-env)".'
        ) from error
    outputs = {output["OutputKey"]: output["OutputValue"] for output in answer["Stacks"][0].get("Outputs", [])}
    return Stack(
        state_machine_arn=outputs["StateMachineArn"],
        bucket=outputs["BucketName"],
        runs_table=outputs["RunsTableName"],
        subnet_ids=tuple(outputs.get("SubnetIds", "").split(",")) if outputs.get("SubnetIds") else (),
        monthly_budget_usd=float(outputs["MonthlyBudgetUsd"]) if "MonthlyBudgetUsd" in outputs else None,
        machine_role_id=outputs.get("MachineRoleId", ""),
    )
