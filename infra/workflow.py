"""The training state machine, its functions and its dead-man switch. Runs at synthesis."""

from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_scheduler as scheduler
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from contracts import layout
from infra import definition
from infra.compute import Compute
from infra.config import Config
from infra.functions import MEMORY_MIB, Functions
from infra.network import Network
from infra.permissions import Permissions
from infra.storage import Storage

# It reads data files; `python -m benchmarks.controller` says how long that takes.
ACCEPT_MEMORY_MIB = 1024
MACHINES = f"{layout.RUNS}*/machines/"
STATES = ("AcceptRun", "LaunchInstance", "AwaitTraining", "CollectOutcome", "Cleanup", "RecordRun")


class Workflow(Construct):
    """State machine, functions of its states, the sweep that its dead-man schedules call."""

    def __init__(
        self, scope: Construct, construct_id: str, config: Config, network: Network, storage: Storage, compute: Compute
    ) -> None:
        super().__init__(scope, construct_id)
        stack = cdk.Stack.of(self)
        self.state_machine_name = f"{config.stack_name}-training"
        self.schedule_group = scheduler.CfnScheduleGroup(self, "DeadMen", name=f"{config.stack_name}-dead-men")
        self.permissions = Permissions(
            stack=stack,
            bucket=storage.bucket,
            runs_table=storage.runs_table,
            project=config.stack_name,
            state_machine_name=self.state_machine_name,
            schedule_group_name=f"{config.stack_name}-dead-men",
        )
        self.environment = {
            "PROJECT": config.stack_name,
            "BUCKET": storage.bucket.bucket_name,
            "RUNS_TABLE": storage.runs_table.table_name,
            "MACHINE_ROLE_ID": compute.role.role_id,
        }
        self.functions = Functions(self, "Functions", config.log_retention_days)
        self.scheduler_role = iam.Role(
            self, "SchedulerRole", assumed_by=iam.ServicePrincipal("scheduler.amazonaws.com")
        )
        sweep = self._add_sweep()
        self.cleanup_environment = {**self.environment, **self._schedule_environment(sweep.function_arn)}
        self.scheduler_role.add_to_policy(
            iam.PolicyStatement(actions=["lambda:InvokeFunction"], resources=[sweep.function_arn])
        )
        self._add_states(config, network, compute, sweep)
        self.state_machine = self._state_machine(config)

    def _schedule_environment(self, sweep_arn: str) -> dict[str, str]:
        return {
            "SCHEDULE_GROUP": self.permissions.schedule_group_name,
            "SCHEDULER_ROLE_ARN": self.scheduler_role.role_arn,
            "SWEEP_FUNCTION_ARN": sweep_arn,
        }

    def clean_up(self) -> list[iam.PolicyStatement]:
        """Return what any function that cleans up a run may do."""
        allow = self.permissions
        return [
            allow.records(),
            allow.describe(),
            allow.delete(),
            allow.console(),
            allow.write_objects(f"{layout.RUNS}*"),
            # A receipt takes the place of an older one only, so whoever writes it reads it first.
            allow.read_objects(f"{layout.RUNS}*/{layout.CLEANUP_STATUS}"),
            # The logs that a machine left are put beside ending.json.
            allow.read_objects(MACHINES),
            allow.know_absence(),
            allow.schedules(["GetSchedule", "CreateSchedule", "UpdateSchedule"]),
            allow.pass_role(self.scheduler_role, "scheduler.amazonaws.com"),
        ]

    def reports(self) -> list[iam.PolicyStatement]:
        """Return what any function may do that takes in a machine's report."""
        allow = self.permissions
        return [allow.records(), allow.read_objects(MACHINES), allow.know_absence()]

    def conclude(self) -> list[iam.PolicyStatement]:
        """Return what a function may do that ends a run in the workflow's stead: stop, clean up, record."""
        allow = self.permissions
        return [
            *self.clean_up(),
            allow.schedules(["DeleteSchedule"]),
            allow.stop(),
            allow.read_history(),
            allow.list_records(),
            allow.read_objects(layout.RUNS),
            allow.publish_registry(),
        ]

    def _add_sweep(self) -> lambda_.Function:
        allow = self.permissions
        name = f"{allow.project}-sweep-run"
        arn = cdk.Stack.of(self).format_arn(
            service="lambda", resource="function", resource_name=name, arn_format=cdk.ArnFormat.COLON_RESOURCE_NAME
        )
        # It arms schedules that call itself, so its own ARN has to be known by name.
        environment = {**self.environment, **self._schedule_environment(arn)}
        sweep = self.functions.add(
            "SweepRun", "sweep_run", cdk.Duration.minutes(5), environment, self.conclude(), function_name=name
        )
        rearm = self.functions.add(
            "RearmSweep",
            "rearm_sweep",
            cdk.Duration.seconds(60),
            environment,
            [
                allow.schedules(["CreateSchedule", "UpdateSchedule"]),
                allow.pass_role(self.scheduler_role, "scheduler.amazonaws.com"),
            ],
        )
        self.functions.hand_over_failures("SweepRun", rearm)
        return sweep

    def _add_states(self, config: Config, network: Network, compute: Compute, sweep: lambda_.Function) -> None:
        allow = self.permissions
        schedules = self._schedule_environment(sweep.function_arn)
        accept = {
            **schedules,
            "MONTHLY_BUDGET_USD": str(config.monthly_budget_usd),
            "DEAD_MAN_MARGIN_SECONDS": str(config.dead_man_margin_minutes * 60),
        }
        launch = {
            "LAUNCH_TEMPLATE_ID": compute.launch_template.ref,
            "SUBNET_IDS": network.subnet_ids,
        }
        reports = self.reports()
        self._state("AcceptRun", 100, accept, [
            allow.read_records(), allow.register_records(), allow.list_records(), allow.read_quotas(),
            allow.read_objects(layout.DATASETS),
            allow.list_objects(layout.DATASETS, layout.MODEL_WEIGHTS),
            allow.write_objects(f"{layout.RUNS}*/{layout.MANIFEST}"),
            allow.schedules(["CreateSchedule", "UpdateSchedule"]),
            allow.pass_role(self.scheduler_role, "scheduler.amazonaws.com"),
        ], ACCEPT_MEMORY_MIB)  # fmt: skip
        self._state("LaunchInstance", 240, launch, [
            *reports, allow.check_records(), allow.settle(), allow.find_instances(), allow.terminate(),
            allow.read_spot_price(), *allow.launch(compute, network.vpc, network.security_group),
        ])  # fmt: skip
        self._state("AwaitTraining", 60, {}, [*reports, allow.settle(), allow.find_instances(), allow.terminate()])
        published = (*layout.RESULTS, layout.SYSTEM_STATE, layout.TRAINING, f"{layout.LOGS}*")
        self._state("CollectOutcome", 240, {}, [
            *reports, allow.console(), allow.find_instances(),
            allow.write_objects(*(f"{layout.RUNS}*/{name}" for name in published)), *allow.publish_results(),
        ])  # fmt: skip
        self._state("Cleanup", 180, schedules, self.clean_up())
        receipt = f"{layout.RUNS}*/{layout.CLEANUP_STATUS}"
        self._state("RecordRun", 120, schedules, [
            allow.records(), allow.read_objects(f"{layout.RUNS}*/{layout.MODEL_METADATA}", receipt),
            allow.write_objects(receipt), allow.schedules(["DeleteSchedule"]), allow.know_absence(),
            allow.read_history(), allow.list_records(), allow.publish_registry(),
        ])  # fmt: skip

    def _state(
        self, name: str, seconds: int, environment: dict[str, str], policy: list[iam.PolicyStatement],
        memory_mib: int = MEMORY_MIB,
    ) -> None:  # fmt: skip
        module = "".join(f"_{char.lower()}" if char.isupper() else char for char in name).lstrip("_")
        self.functions.add(
            name,
            module,
            cdk.Duration.seconds(seconds),
            {**self.environment, **environment},
            policy,
            memory_mib=memory_mib,
        )

    def _state_machine(self, config: Config) -> sfn.StateMachine:
        substitutions: dict[str, Any] = {f"{name}Arn": self.functions.all[name].function_arn for name in STATES}
        substitutions["RunsAddress"] = f"s3://{self.permissions.bucket.bucket_name}/{layout.RUNS}"
        substitutions["ExecutionTimeoutSeconds"] = str(config.execution_timeout_hours * 3600)
        role = iam.Role(self, "StateMachineRole", assumed_by=iam.ServicePrincipal("states.amazonaws.com"))
        role.add_to_policy(
            iam.PolicyStatement(
                actions=["lambda:InvokeFunction"], resources=[self.functions.all[name].function_arn for name in STATES]
            )
        )
        machine = sfn.StateMachine(
            self,
            "StateMachine",
            state_machine_name=self.state_machine_name,
            definition_body=sfn.DefinitionBody.from_string(definition.text()),
            definition_substitutions=substitutions,
            role=role,
        )
        history = "A Standard execution keeps its whole history; a copy in CloudWatch or X-Ray would be paid for."
        acknowledge = cdk.Validations.of(machine).acknowledge
        acknowledge(
            cdk.Acknowledgment(id="AwsSolutions-SF1", reason=history),
            cdk.Acknowledgment(id="AwsSolutions-SF2", reason=history),
        )
        return machine
