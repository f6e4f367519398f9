"""The network: public subnets in every zone, no NAT, nothing inbound. Runs at synthesis."""

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from constructs import Construct

EVERY_ZONE = 99


class Network(Construct):
    """VPC, S3 gateway endpoint and the egress-only security group of the instances."""

    def __init__(self, scope: Construct, construct_id: str, cidr: str) -> None:
        super().__init__(scope, construct_id)
        self.vpc = ec2.Vpc(
            self,
            "Vpc",
            ip_addresses=ec2.IpAddresses.cidr(cidr),
            max_azs=EVERY_ZONE,
            nat_gateways=0,
            # Closing the default group takes a custom resource with a Lambda of its own; nothing uses that group.
            restrict_default_security_group=False,
            subnet_configuration=[
                ec2.SubnetConfiguration(name="Public", subnet_type=ec2.SubnetType.PUBLIC, cidr_mask=24)
            ],
            gateway_endpoints={
                "S3": ec2.GatewayVpcEndpointOptions(service=ec2.GatewayVpcEndpointAwsService.S3),
            },
        )
        cdk.Validations.of(self.vpc).acknowledge(
            cdk.Acknowledgment(
                id="AwsSolutions-VPC7", reason="Nothing comes in, and flow logs are paid for by the byte."
            )
        )
        self.security_group = ec2.SecurityGroup(
            self,
            "Egress",
            vpc=self.vpc,
            description="Instances of training runs: out, never in",
            allow_all_outbound=True,
        )

    @property
    def subnet_ids(self) -> str:
        """Ids of the subnets that an instance may be launched in, one a zone, with commas between them."""
        return cdk.Fn.join(",", [subnet.subnet_id for subnet in self.vpc.public_subnets])
