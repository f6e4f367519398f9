"""The machine: launch template, instance role and the code it fetches. Runs at synthesis."""

from collections.abc import Sequence

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_s3_assets as s3_assets
from constructs import Construct

from contracts import layout
from contracts.prices import ROOT_VOLUME_GIB
from infra.bundles import ROOT, instance_bundle

# Deep Learning Base GPU AMI with the NVIDIA driver, on Amazon Linux 2023; resolved at each launch.
# https://docs.aws.amazon.com/dlami/latest/devguide/find-dlami-id.html
USER_DATA_LIMIT_BYTES = 16 * 1024

# IAM puts the caller in: the role's id, a colon, the instance's id. So no machine writes what another one may have
# written or will: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html
OWN_FOLDER = f"{layout.RUNS}*/machines/${{aws:userid}}/*"
# What was uploaded is read back to be verified; checkpoints of the run's earlier machines are taken up.
READS = [
    OWN_FOLDER,
    f"{layout.RUNS}*/machines/*/checkpoints/*",
    f"{layout.RUNS}*/{layout.MANIFEST}",
    *(f"{prefix}*" for prefix in (layout.DATASETS, layout.MODEL_WEIGHTS, layout.PYTHON_ENVIRONMENTS)),
]


class Compute(Construct):
    """Launch template of the training instances."""

    def __init__(
        self, scope: Construct, construct_id: str, bucket: s3.Bucket, security_group: ec2.SecurityGroup, vpc_id: str
    ) -> None:
        super().__init__(scope, construct_id)
        self.code = s3_assets.Asset(self, "Code", path=str(instance_bundle()))
        self.role = iam.Role(self, "Role", assumed_by=iam.ServicePrincipal("ec2.amazonaws.com"))
        _allow(self.role, bucket, self.code, vpc_id)
        profile = iam.CfnInstanceProfile(self, "Profile", roles=[self.role.role_name])
        self.launch_template = ec2.CfnLaunchTemplate(
            self, "LaunchTemplate", launch_template_data=self._data(profile, bucket, security_group)
        )

    def _data(
        self, profile: iam.CfnInstanceProfile, bucket: s3.Bucket, security_group: ec2.SecurityGroup
    ) -> ec2.CfnLaunchTemplate.LaunchTemplateDataProperty:
        template = ec2.CfnLaunchTemplate
        return template.LaunchTemplateDataProperty(
            image_id=f"resolve:ssm:{layout.AMI_PARAMETER}",
            instance_type="g4dn.2xlarge",
            instance_initiated_shutdown_behavior="terminate",
            iam_instance_profile=template.IamInstanceProfileProperty(arn=profile.attr_arn),
            security_group_ids=[security_group.security_group_id],
            metadata_options=template.MetadataOptionsProperty(
                http_tokens="required",
                http_endpoint="enabled",
                http_put_response_hop_limit=1,
                instance_metadata_tags="enabled",
            ),
            block_device_mappings=[
                template.BlockDeviceMappingProperty(
                    device_name="/dev/xvda",
                    ebs=template.EbsProperty(
                        volume_size=ROOT_VOLUME_GIB, volume_type="gp3", encrypted=True, delete_on_termination=True
                    ),
                )
            ],
            user_data=cdk.Fn.base64(self._user_data(bucket)),
        )

    def _user_data(self, bucket: s3.Bucket) -> str:
        stub = (ROOT / "instance" / "user_data.sh").read_text()
        if len(stub) > USER_DATA_LIMIT_BYTES - 512:
            raise ValueError(f"instance/user_data.sh: expected less than {USER_DATA_LIMIT_BYTES - 512} bytes")
        values = {
            "@@CODE_URL@@": self.code.s3_object_url,
            "@@BUCKET@@": bucket.bucket_name,
            "@@ROLE_ID@@": self.role.role_id,
            "@@REGION@@": cdk.Aws.REGION,
        }
        for placeholder, value in values.items():
            stub = stub.replace(placeholder, value)
        return stub


def _allow(role: iam.Role, bucket: s3.Bucket, code: s3_assets.Asset, vpc_id: str) -> None:
    """Let a machine read inputs and write results; every statement is of use inside the stack's network only.

    The S3 gateway endpoint brings the network's id along, so credentials that were carried elsewhere open nothing:
    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html#condition-keys-sourcevpc
    """
    inside = {"StringEquals": {"aws:SourceVpc": vpc_id}}
    code_object = f"{code.bucket.bucket_arn}/{code.s3_object_key}"
    # A packed environment is run by every later machine, so none can be replaced: only a key that is free is written.
    # https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes-enforce.html
    only_new = {**inside, "Null": {"s3:if-none-match": "false"}}
    for sid, actions, resources, conditions in (
        ("Read", ["s3:GetObject"], [code_object, *_keys(bucket, READS)], inside),
        ("Write", ["s3:PutObject", "s3:AbortMultipartUpload"], _keys(bucket, [OWN_FOLDER]), inside),
        ("KeepEnvironment", ["s3:PutObject"], _keys(bucket, [f"{layout.PYTHON_ENVIRONMENTS}*"]), only_new),
    ):
        role.add_to_policy(iam.PolicyStatement(sid=sid, actions=actions, resources=resources, conditions=conditions))


def _keys(bucket: s3.Bucket, patterns: Sequence[str]) -> list[str]:
    return [bucket.arn_for_objects(pattern) for pattern in patterns]
