"""Events that reach the controller: reports, ended executions, instances, uploaded requests. Runs at synthesis."""

import aws_cdk as cdk
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from contracts import layout
from infra.storage import Storage
from infra.workflow import Workflow

ENDED = ["SUCCEEDED", "FAILED", "ABORTED", "TIMED_OUT"]
LOST = ["stopping", "stopped", "shutting-down", "terminated"]


class Triggers(Construct):
    """One rule an event, one function a rule."""

    def __init__(self, scope: Construct, construct_id: str, storage: Storage, workflow: Workflow) -> None:
        super().__init__(scope, construct_id)
        allow, functions = workflow.permissions, workflow.functions
        reports = [*workflow.reports(), allow.settle(), allow.find_instances()]
        observe_state = self._function(workflow, "ObserveState", "observe_state", {}, reports)
        observe_instance = self._function(workflow, "ObserveInstance", "observe_instance", {}, reports)
        notes = [f"{layout.REQUESTS}*{note}" for note in (layout.REJECTED_NOTE, layout.STARTED_NOTE)]
        start = self._function(
            workflow,
            "StartFromUpload",
            "start_from_upload",
            {"STATE_MACHINE_ARN": allow.state_machine_arn},
            [
                allow.read_objects(layout.REQUESTS),
                allow.know_absence(),
                allow.write_objects(*notes),
                allow.claim_uploads(),
                allow.start(),
            ],
        )
        note = self._function(
            workflow,
            "NoteLostUpload",
            "note_lost_upload",
            {"STATE_MACHINE_ARN": allow.state_machine_arn},
            [
                # A note is put on top of earlier ones.
                allow.read_objects(layout.REQUESTS),
                allow.know_absence(),
                allow.write_objects(notes[0]),
            ],
        )
        functions.hand_over_failures("StartFromUpload", note)
        bucket = {"name": [storage.bucket.bucket_name]}
        self._rule("StateWritten", observe_state, "aws.s3", ["Object Created"], {
            "bucket": bucket, "object": {"key": [{"wildcard": f"{layout.RUNS}*/machines/*/{layout.SYSTEM_STATE}"}]},
        })  # fmt: skip
        self._rule("RequestUploaded", start, "aws.s3", ["Object Created"], {
            "bucket": bucket, "object": {"key": [{"wildcard": f"{layout.REQUESTS}*.json"}]},
        })  # fmt: skip
        ended, changed = "Step Functions Execution Status Change", "EC2 Instance State-change Notification"
        self._rule("ExecutionEnded", functions.all["SweepRun"], "aws.states", [ended], {
            "stateMachineArn": [allow.state_machine_arn], "status": ENDED,
        })  # fmt: skip
        self._rule("InstanceLost", observe_instance, "aws.ec2", [changed], {"state": LOST})
        self._rule("SpotWarned", observe_instance, "aws.ec2", ["EC2 Spot Instance Interruption Warning"], {})

    def _function(
        self,
        workflow: Workflow,
        name: str,
        module: str,
        environment: dict[str, str],
        policy: list[iam.PolicyStatement],
    ) -> lambda_.Function:
        given = {**workflow.environment, **environment}
        return workflow.functions.add(name, module, cdk.Duration.seconds(60), given, policy)

    def _rule(
        self, name: str, function: lambda_.Function, source: str, detail_type: list[str], detail: dict[str, object]
    ) -> None:
        pattern = events.EventPattern(source=[source], detail_type=detail_type, detail=detail or None)
        events.Rule(self, name, event_pattern=pattern, targets=[targets.LambdaFunction(function)])
