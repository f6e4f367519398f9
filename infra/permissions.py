"""Who may do what: the statements of the functions' roles, by resource and tag. Runs at synthesis."""

from collections.abc import Sequence
from dataclasses import dataclass

import aws_cdk as cdk
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3

from contracts import layout
from infra.compute import Compute
from infra.storage import BY_TIME

Statement = iam.PolicyStatement

_EC2_REFERENCE = "https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html"
_FOUND_BY_TAG = [
    f"ec2:Describe{kind}"
    for kind in ("Instances", "Volumes", "NetworkInterfaces", "Snapshots", "NatGateways", "Addresses")
]
_SPOT_PRICE = "ec2:DescribeSpotPriceHistory"
# The only actions that are allowed on `*`: AWS's reference names no resource type for them.
NO_RESOURCE = dict.fromkeys([*_FOUND_BY_TAG, _SPOT_PRICE], _EC2_REFERENCE)
_TAGGED = "AWS gives the id; the project's tag is asked for."
_KEYS = "Keys below a prefix; the run's part is not known to a role."
# Every resource that is named by a wildcard, and why it has to be.
WILDCARDS = {
    "*": "EC2's Describe calls know no resources; see NO_RESOURCE.",
    "instance/*": _TAGGED,
    "volume/*": _TAGGED,
    "network-interface/*": _TAGGED,
    "spot-instances-request/*": _TAGGED,
    "image/*": "The image is looked up at each launch; the stack's launch template is asked for.",
    "schedule/ChronosTraining-dead-men/*": "One schedule a run, in the stack's own group.",
    "execution:ChronosTraining-training:*": "One execution a run, of the stack's own state machine.",
    "datasets/*": _KEYS,
    "cached-models/*": _KEYS,
    "cached-datasets/python-env/*": "One key a lock file; only a free one is written.",
    "requests/*": _KEYS,
    "requests/*.rejected.txt": _KEYS,
    "requests/*.started.txt": _KEYS,
    "phase1/*": _KEYS,
    "phase1/*/manifest.json": _KEYS,
    "phase1/*/system-state.json": _KEYS,
    "phase1/*/training.json": _KEYS,
    "phase1/*/model_metadata.json": _KEYS,
    "phase1/*/model_metadata.json*": _KEYS,
    "phase1/*/forecasts/*": _KEYS,
    "phase1/*/backtest/*": _KEYS,
    "phase1/*/models/*": _KEYS,
    "phase1/*/logs/*": _KEYS,
    "phase1/*/cleanup_status.json": _KEYS,
    "phase1/*/cleanup_status.json*": _KEYS,
    "phase1/*/staged/*": _KEYS,
    "phase1/*/machines/*": "What machines report and leave, of whatever run.",
    "phase1/*/machines/*/checkpoints/*": "Checkpoints of a run's earlier machines.",
}


@dataclass(frozen=True)
class Permissions:
    """Statements over the resources of one stack."""

    stack: cdk.Stack
    bucket: s3.Bucket
    runs_table: dynamodb.Table
    project: str
    state_machine_name: str
    schedule_group_name: str

    def read_records(self) -> Statement:
        """Read records of runs."""
        return Statement(actions=["dynamodb:GetItem"], resources=[self.runs_table.table_arn])

    def records(self) -> Statement:
        """Read and conditionally write records of runs."""
        return Statement(actions=["dynamodb:GetItem", "dynamodb:UpdateItem"], resources=[self.runs_table.table_arn])

    def check_records(self) -> Statement:
        """Make a write depend on another item of the table."""
        return Statement(actions=["dynamodb:ConditionCheckItem"], resources=[self.runs_table.table_arn])

    def register_records(self) -> Statement:
        """Register a run: the writes of its transaction, and what it asks of other items."""
        return Statement(
            actions=["dynamodb:PutItem", "dynamodb:ConditionCheckItem"], resources=[self.runs_table.table_arn]
        )

    def claim_uploads(self) -> Statement:
        """Read and write the claims of uploads, and no other item.

        https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/specifying-conditions.html
        """
        return Statement(
            actions=["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:ConditionCheckItem"],
            resources=[self.runs_table.table_arn],
            conditions={"ForAllValues:StringLike": {"dynamodb:LeadingKeys": [f"{layout.UPLOAD_CLAIMS}*"]}},
        )

    def list_records(self) -> Statement:
        """Query the newest runs."""
        return Statement(actions=["dynamodb:Query"], resources=[f"{self.runs_table.table_arn}/index/{BY_TIME}"])

    def read_objects(self, *prefixes: str) -> Statement:
        """Read objects below prefixes."""
        return Statement(actions=["s3:GetObject"], resources=[self.bucket.arn_for_objects(f"{p}*") for p in prefixes])

    def write_objects(self, *keys: str) -> Statement:
        """Write objects whose key matches."""
        return Statement(actions=["s3:PutObject"], resources=[self.bucket.arn_for_objects(key) for key in keys])

    def publish_results(self) -> list[Statement]:
        """Stage verified results, tagged, out of the machines' reach, and put them in their places."""
        staged = self.bucket.arn_for_objects(f"{layout.RUNS}*/{layout.STAGED}*")
        # A copy that is in its place already is not made again, so what is there is looked at.
        results = [self.bucket.arn_for_objects(f"{layout.RUNS}*/{name}") for name in layout.RESULTS]
        return [
            Statement(actions=["s3:GetObject", "s3:PutObject", "s3:PutObjectTagging"], resources=[staged]),
            Statement(actions=["s3:GetObject"], resources=results),
        ]

    def publish_registry(self) -> Statement:
        """Read the registry and write it on condition."""
        registry = self.bucket.arn_for_objects(layout.REGISTRY)
        return Statement(actions=["s3:GetObject", "s3:PutObject"], resources=[registry])

    def list_objects(self, *prefixes: str) -> Statement:
        """List objects below prefixes; also makes S3 answer 404 instead of 403 for what is absent."""
        return Statement(
            actions=["s3:ListBucket"],
            resources=[self.bucket.bucket_arn],
            conditions={"StringLike": {"s3:prefix": [f"{prefix}*" for prefix in prefixes]}},
        )

    def know_absence(self) -> Statement:
        """Let S3 say 404 for an absent object; without ListBucket it says 403."""
        return Statement(actions=["s3:ListBucket"], resources=[self.bucket.bucket_arn])

    def settle(self) -> Statement:
        """Tell waiting states of the state machine.

        AWS's reference names no resource for these, but judges by the state machine's ARN, as its refusals say:
        https://github.com/aws/aws-cdk/pull/8486, https://github.com/NOAA-OWP/hydrovis/issues/837
        """
        return Statement(
            actions=["states:SendTaskSuccess", "states:SendTaskFailure", "states:SendTaskHeartbeat"],
            resources=[self.state_machine_arn],
        )

    def start(self) -> Statement:
        """Start executions."""
        return Statement(actions=["states:StartExecution"], resources=[self.state_machine_arn])

    def stop(self) -> Statement:
        """Stop executions."""
        return Statement(actions=["states:StopExecution"], resources=[self._executions])

    def read_history(self) -> Statement:
        """Read what executions did."""
        return Statement(actions=["states:GetExecutionHistory"], resources=[self._executions])

    def list_executions(self) -> Statement:
        """List executions."""
        return Statement(actions=["states:ListExecutions"], resources=[self.state_machine_arn])

    def schedules(self, actions: Sequence[str]) -> Statement:
        """Manage the dead-man schedules of the stack's group."""
        arn = self.stack.format_arn(
            service="scheduler", resource="schedule", resource_name=f"{self.schedule_group_name}/*"
        )
        return Statement(actions=[f"scheduler:{action}" for action in actions], resources=[arn])

    def pass_role(self, role: iam.IRole, service: str) -> Statement:
        """Hand one role to one service."""
        return Statement(
            actions=["iam:PassRole"],
            resources=[role.role_arn],
            conditions={"StringEquals": {"iam:PassedToService": service}},
        )

    def read_quotas(self) -> Statement:
        """Read the vCPU quotas of EC2."""
        arns = [
            self.stack.format_arn(service="servicequotas", resource="ec2", resource_name=code)
            for code in ("L-DB2E81BA", "L-3819A6DF")
        ]
        return Statement(actions=["servicequotas:GetServiceQuota"], resources=arns)

    def describe(self) -> Statement:
        """Find resources by tag; see `NO_RESOURCE`."""
        return Statement(actions=_FOUND_BY_TAG, resources=["*"])

    def find_instances(self) -> Statement:
        """Find instances by id or tag; see `NO_RESOURCE`."""
        return Statement(actions=["ec2:DescribeInstances"], resources=["*"])

    def read_spot_price(self) -> Statement:
        """Ask what a spot instance costs; see `NO_RESOURCE`."""
        return Statement(actions=[_SPOT_PRICE], resources=["*"])

    def console(self) -> Statement:
        """Read the console of the project's instances."""
        return self._owned(["ec2:GetConsoleOutput"], ["instance/*"])

    def delete(self) -> Statement:
        """Delete what carries the project's tag."""
        actions = ["ec2:TerminateInstances", "ec2:DeleteVolume", "ec2:DeleteNetworkInterface"]
        return self._owned(actions, ["instance/*", "volume/*", "network-interface/*"])

    def terminate(self) -> Statement:
        """Terminate the project's instances."""
        return self._owned(["ec2:TerminateInstances"], ["instance/*"])

    def launch(self, compute: Compute, vpc: ec2.Vpc, security_group: ec2.SecurityGroup) -> list[Statement]:
        """Launch from the one template, tagged from the first moment, with IMDSv2."""
        template = self._ec2(f"launch-template/{compute.launch_template.ref}")
        from_template = {"ArnEquals": {"ec2:LaunchTemplate": template}}
        tagged = {"StringEquals": {f"aws:RequestTag/{layout.TAG_PROJECT}": self.project}}
        created = ["volume/*", "network-interface/*", "spot-instances-request/*"]
        used = [
            *(self._ec2(f"subnet/{subnet.subnet_id}") for subnet in vpc.public_subnets),
            self._ec2(f"security-group/{security_group.security_group_id}"),
            template,
        ]
        image = self.stack.format_arn(service="ec2", account="", resource="image", resource_name="*")
        parameter = self.stack.format_arn(
            service="ssm", account="", resource="parameter", resource_name=layout.AMI_PARAMETER[1:]
        )
        return [
            Statement(
                actions=["ec2:RunInstances"],
                resources=[self._ec2("instance/*")],
                conditions={
                    "StringEquals": {**tagged["StringEquals"], "ec2:MetadataHttpTokens": "required"},
                    **from_template,
                },
            ),
            Statement(actions=["ec2:RunInstances"], resources=[self._ec2(kind) for kind in created], conditions=tagged),
            Statement(actions=["ec2:RunInstances"], resources=[*used, image], conditions=from_template),
            Statement(
                actions=["ec2:CreateTags"],
                resources=[self._ec2(kind) for kind in ("instance/*", *created)],
                conditions={"StringEquals": {"ec2:CreateAction": "RunInstances"}},
            ),
            Statement(actions=["ssm:GetParameters"], resources=[parameter]),
            self._create_spot_role(),
            self.pass_role(compute.role, "ec2.amazonaws.com"),
        ]

    def _create_spot_role(self) -> Statement:
        """Let the first spot launch of an account make EC2's own role for it, and no other role.

        https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/service-linked-roles-spot-instance-requests.html
        """
        role = "aws-service-role/spot.amazonaws.com/AWSServiceRoleForEC2Spot"
        return Statement(
            actions=["iam:CreateServiceLinkedRole"],
            resources=[self.stack.format_arn(service="iam", region="", resource="role", resource_name=role)],
            conditions={"StringEquals": {"iam:AWSServiceName": "spot.amazonaws.com"}},
        )

    @property
    def state_machine_arn(self) -> str:
        """ARN of the state machine, by name: functions and state machine would else wait for each other."""
        return self.stack.format_arn(
            service="states",
            resource="stateMachine",
            resource_name=self.state_machine_name,
            arn_format=cdk.ArnFormat.COLON_RESOURCE_NAME,
        )

    @property
    def _executions(self) -> str:
        return self.stack.format_arn(
            service="states",
            resource="execution",
            resource_name=f"{self.state_machine_name}:*",
            arn_format=cdk.ArnFormat.COLON_RESOURCE_NAME,
        )

    def _owned(self, actions: list[str], kinds: list[str]) -> Statement:
        return Statement(
            actions=actions,
            resources=[self._ec2(kind) for kind in kinds],
            conditions={"StringEquals": {f"aws:ResourceTag/{layout.TAG_PROJECT}": self.project}},
        )

    def _ec2(self, resource: str) -> str:
        kind, name = resource.split("/", 1)
        return self.stack.format_arn(service="ec2", resource=kind, resource_name=name)
