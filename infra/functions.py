"""The controller's functions, each with a role of its own. Runs at synthesis."""

from collections.abc import Mapping
from typing import cast

import aws_cdk as cdk
from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from infra.bundles import lambda_bundle

MEMORY_MIB = 256
RUNTIME = "Python 3.13 is maintained until 2029; all functions move to the next runtime together, after its tests."
_RETENTIONS = {
    1: logs.RetentionDays.ONE_DAY,
    3: logs.RetentionDays.THREE_DAYS,
    7: logs.RetentionDays.ONE_WEEK,
    14: logs.RetentionDays.TWO_WEEKS,
    30: logs.RetentionDays.ONE_MONTH,
    90: logs.RetentionDays.THREE_MONTHS,
    365: logs.RetentionDays.ONE_YEAR,
}


class Functions(Construct):
    """Makes functions that share one bundle and one environment, and differ in handler and permissions."""

    def __init__(self, scope: Construct, construct_id: str, log_retention_days: int) -> None:
        super().__init__(scope, construct_id)
        self._code = lambda_.Code.from_asset(str(lambda_bundle()))
        self._retention_days = log_retention_days
        self.all: dict[str, lambda_.Function] = {}

    def add(
        self,
        name: str,
        module: str,
        timeout: Duration,
        environment: Mapping[str, str],
        policy: list[iam.PolicyStatement],
        function_name: str | None = None,
        memory_mib: int = MEMORY_MIB,
    ) -> lambda_.Function:
        """Add the function of `lambdas/<module>.py`, called after its state or event.

        Lambda gives a function a share of a core by its memory, a whole one at 1,769 MiB:
        https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
        """
        log_group = logs.LogGroup(
            self, f"{name}Log", retention=_retention(self._retention_days), removal_policy=RemovalPolicy.DESTROY
        )
        role = iam.Role(self, f"{name}Role", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))
        log_group.grant_write(role)
        for statement in policy:
            role.add_to_policy(statement)
        function = lambda_.Function(
            self,
            name,
            function_name=function_name,
            runtime=lambda_.Runtime.PYTHON_3_13,
            architecture=lambda_.Architecture.ARM_64,
            handler=f"lambdas.{module}.handler",
            code=self._code,
            memory_size=memory_mib,
            timeout=timeout,
            # Its calls' user agent says which function it is: in CloudTrail, and in the embedded cloud's log.
            environment={"POWERTOOLS_SERVICE_NAME": module, "AWS_SDK_UA_APP_ID": name, **environment},
            log_group=log_group,
            role=role,
        )
        cdk.Validations.of(function).acknowledge(cdk.Acknowledgment(id="AwsSolutions-L1", reason=RUNTIME))
        self.all[name] = function
        return function

    def hand_over_failures(self, name: str, receiver: lambda_.Function) -> None:
        """Let Lambda call `receiver` with each event on which the function `name` failed for good, its retries too.

        https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-configuring.html
        """
        function = self.all[name]
        # The construct's own grant would name every version of the receiver, too.
        function.add_to_role_policy(
            iam.PolicyStatement(actions=["lambda:InvokeFunction"], resources=[receiver.function_arn])
        )
        destination = lambda_.CfnEventInvokeConfig.OnFailureProperty(destination=receiver.function_arn)
        config = lambda_.CfnEventInvokeConfig(
            self,
            f"{name}OnFailure",
            function_name=function.function_name,
            qualifier="$LATEST",
            maximum_retry_attempts=2,
            destination_config=lambda_.CfnEventInvokeConfig.DestinationConfigProperty(on_failure=destination),
        )
        # Lambda refuses a destination that the function may not call yet.
        config.node.add_dependency(cast(iam.Role, function.role))


def _retention(days: int) -> logs.RetentionDays:
    if days not in _RETENTIONS:
        raise ValueError(f"log_retention_days: expected one of {sorted(_RETENTIONS)}, found {days}")
    return _RETENTIONS[days]
