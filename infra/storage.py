"""What is kept between runs: the bucket and the runs table. Runs at synthesis."""

from typing import cast

import aws_cdk as cdk
from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_s3 as s3
from constructs import Construct

from contracts import layout

BY_TIME = "by-time"
EXPIRES_AT = "expires_at"


class Storage(Construct):
    """Bucket and table; both outlive the stack, since they hold what people paid for."""

    def __init__(self, scope: Construct, construct_id: str) -> None:
        super().__init__(scope, construct_id)
        self.bucket = s3.Bucket(
            self,
            "Bucket",
            encryption=s3.BucketEncryption.S3_MANAGED,
            enforce_ssl=True,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            removal_policy=RemovalPolicy.RETAIN,
            lifecycle_rules=[_runs_rule(), _staged_rule(), _uploads_rule()],
        )
        cdk.Validations.of(self.bucket).acknowledge(
            cdk.Acknowledgment(
                id="AwsSolutions-S1", reason="Access logs are stored bytes without an end; nobody else has access."
            )
        )
        # The L2 switch brings a Lambda-backed custom resource for what is one property of the bucket.
        cast(
            s3.CfnBucket, self.bucket.node.default_child
        ).notification_configuration = s3.CfnBucket.NotificationConfigurationProperty(
            event_bridge_configuration=s3.CfnBucket.EventBridgeConfigurationProperty(event_bridge_enabled=True)
        )
        self.runs_table = dynamodb.Table(
            self,
            "Runs",
            partition_key=dynamodb.Attribute(name="id", type=dynamodb.AttributeType.STRING),
            billing_mode=dynamodb.BillingMode.PAY_PER_REQUEST,
            # Of claims of uploads only; no record of a run has it.
            time_to_live_attribute=EXPIRES_AT,
            removal_policy=RemovalPolicy.RETAIN,
        )
        self.runs_table.add_global_secondary_index(
            index_name=BY_TIME,
            partition_key=dynamodb.Attribute(name="kind", type=dynamodb.AttributeType.STRING),
            sort_key=dynamodb.Attribute(name="run_id", type=dynamodb.AttributeType.STRING),
        )
        cdk.Validations.of(self.runs_table).acknowledge(
            cdk.Acknowledgment(
                id="AwsSolutions-DDB3", reason="The records are in control_registry.json, too, and backups cost."
            )
        )


def _runs_rule() -> s3.LifecycleRule:
    """Results become cheaper to keep, then need to be restored to be read, and end; see docs/reliability.md."""
    return s3.LifecycleRule(
        id="runs",
        prefix=layout.RUNS,
        transitions=[
            s3.Transition(storage_class=s3.StorageClass.INTELLIGENT_TIERING, transition_after=Duration.days(7)),
            s3.Transition(storage_class=s3.StorageClass.GLACIER, transition_after=Duration.days(layout.ARCHIVED_DAYS)),
        ],
        expiration=Duration.days(layout.KEPT_DAYS),
    )


def _staged_rule() -> s3.LifecycleRule:
    """End staged copies, which are in their places by then or never will be; no prefix names the folder of every run.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/intro-lifecycle-filters.html
    """
    name, value = layout.STAGED_TAG
    return s3.LifecycleRule(
        id="staged", prefix=layout.RUNS, tag_filters={name: value}, expiration=Duration.days(layout.STAGED_DAYS)
    )


def _uploads_rule() -> s3.LifecycleRule:
    """Parts of uploads that never completed cost as much as objects and are not listed."""
    return s3.LifecycleRule(id="unfinished-uploads", abort_incomplete_multipart_upload_after=Duration.days(1))
