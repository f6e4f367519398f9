"""The machine: launch template, instance role and the code it fetches. Runs at synthesis."""

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
AMI_PARAMETER = "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-amazon-linux-2023/latest/ami-id"
USER_DATA_LIMIT_BYTES = 16 * 1024


class Compute(Construct):
    """Launch template of the training instances."""

    def __init__(
        self, scope: Construct, construct_id: str, bucket: s3.Bucket, security_group: ec2.SecurityGroup
    ) -> None:
        super().__init__(scope, construct_id)
        self.code = s3_assets.Asset(self, "Code", path=str(instance_bundle()))
        self.role = iam.Role(self, "Role", assumed_by=iam.ServicePrincipal("ec2.amazonaws.com"))
        _allow(self.role, bucket)
        self.code.grant_read(self.role)
        profile = iam.CfnInstanceProfile(self, "Profile", roles=[self.role.role_name])
        self.launch_template = ec2.CfnLaunchTemplate(
            self, "LaunchTemplate", launch_template_data=self._data(profile, bucket, security_group)
        )

    def _data(
        self, profile: iam.CfnInstanceProfile, bucket: s3.Bucket, security_group: ec2.SecurityGroup
    ) -> ec2.CfnLaunchTemplate.LaunchTemplateDataProperty:
        template = ec2.CfnLaunchTemplate
        return template.LaunchTemplateDataProperty(
            image_id=f"resolve:ssm:{AMI_PARAMETER}",
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
            "@@REGION@@": cdk.Aws.REGION,
        }
        for placeholder, value in values.items():
            stub = stub.replace(placeholder, value)
        return stub


def _allow(role: iam.Role, bucket: s3.Bucket) -> None:
    readable = [layout.DATASETS, layout.MODEL_WEIGHTS, layout.PYTHON_ENVIRONMENTS, layout.RUNS]
    writable = [layout.RUNS, layout.PYTHON_ENVIRONMENTS]
    role.add_to_policy(
        iam.PolicyStatement(
            sid="Read",
            actions=["s3:GetObject"],
            resources=[bucket.arn_for_objects(f"{prefix}*") for prefix in readable],
        )
    )
    role.add_to_policy(
        iam.PolicyStatement(
            sid="Write",
            actions=["s3:PutObject", "s3:AbortMultipartUpload"],
            resources=[bucket.arn_for_objects(f"{prefix}*") for prefix in writable],
        )
    )
    role.add_to_policy(
        iam.PolicyStatement(
            sid="ListCheckpoints",
            actions=["s3:ListBucket"],
            resources=[bucket.bucket_arn],
            conditions={"StringLike": {"s3:prefix": [f"{layout.RUNS}*"]}},
        )
    )
