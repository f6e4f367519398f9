"""The one stack. Runs at synthesis."""

import aws_cdk as cdk
from constructs import Construct

from contracts import layout
from infra.compute import Compute
from infra.config import Config
from infra.drain import Drain
from infra.network import Network
from infra.storage import Storage
from infra.triggers import Triggers
from infra.workflow import Workflow


class TrainingStack(cdk.Stack):
    """Everything a run needs between runs; nothing in it costs anything while idle but stored bytes."""

    def __init__(self, scope: Construct, config: Config, env: cdk.Environment | None = None) -> None:
        super().__init__(
            scope,
            config.stack_name,
            env=env,
            description="Trains and backtests forecasting models on a GPU instance that exists only while it works",
        )
        network = Network(self, "Network", config.vpc_cidr)
        storage = Storage(self, "Storage")
        compute = Compute(self, "Compute", storage.bucket, network.security_group, network.vpc.vpc_id)
        workflow = Workflow(self, "Workflow", config, network, storage, compute)
        triggers = Triggers(self, "Triggers", storage, workflow)
        Drain(self, "Drain", workflow, [network, compute, workflow.state_machine, workflow.schedule_group, triggers])
        cdk.Tags.of(self).add(layout.TAG_PROJECT, config.stack_name)
        outputs = {
            "StateMachineArn": workflow.state_machine.state_machine_arn,
            "BucketName": storage.bucket.bucket_name,
            "RunsTableName": storage.runs_table.table_name,
            "LaunchTemplateId": compute.launch_template.ref,
            "SubnetIds": network.subnet_ids,
            "MonthlyBudgetUsd": str(config.monthly_budget_usd),
            "MachineRoleId": compute.role.role_id,
        }
        for name, value in outputs.items():
            cdk.CfnOutput(self, name, value=value)
