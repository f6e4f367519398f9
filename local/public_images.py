"""The public SSM parameter of the Deep Learning AMI, which MiniStack lacks. Runs in the cloud's server.

Follows https://docs.aws.amazon.com/dlami/latest/devguide/find-dlami-id.html. Names below /aws belong to AWS, so no
client can put them. The image itself is nothing: instances of this cloud boot with the person's Python environment.
"""

from ministack.services import ssm

NAME = "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-amazon-linux-2023/latest/ami-id"
IMAGE = "ami-0d1a5e0f00c0ffee0"


def install() -> None:
    """Make the parameter readable."""
    ssm._PUBLIC_AMI_PARAMETERS[NAME] = IMAGE
