"""The drain: deleting the stack first ends every run, so `cdk destroy` leaves no instance behind. Runs at synthesis."""

import aws_cdk as cdk
from constructs import Construct, IDependable

from infra.workflow import Workflow


class Drain(Construct):
    """A custom resource made last and so deleted first."""

    def __init__(self, scope: Construct, construct_id: str, workflow: Workflow, before: list[IDependable]) -> None:
        super().__init__(scope, construct_id)
        allow = workflow.permissions
        function = workflow.functions.add(
            "DrainStack",
            "drain_stack",
            cdk.Duration.minutes(15),
            {**workflow.cleanup_environment, "STATE_MACHINE_ARN": allow.state_machine_arn},
            [*workflow.conclude(), allow.list_executions()],
        )
        drain = cdk.CustomResource(
            self,
            "Drain",
            service_token=function.function_arn,
            resource_type="Custom::Drain",
            service_timeout=cdk.Duration.minutes(20),
        )
        drain.node.add_dependency(function, *before)
