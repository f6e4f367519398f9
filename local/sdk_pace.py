"""The waits of the AWS SDK in Lambda functions, at a part of their length. Runs in the cloud's server.

CHRONOS_LOCAL_SDK_WAIT_SCALE shortens the pauses between tries and the time an answer may take, as SFN_WAIT_SCALE does
for Step Functions; how often is tried does not change. An answer always has four seconds, if it had them: this computer
does not answer faster than AWS. botocore's pauses are those of its standard mode:
https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html
"""

import os

from ministack.core import lambda_runtime

SCALE = "CHRONOS_LOCAL_SDK_WAIT_SCALE"
# Where a worker has its path and has not yet imported the handler.
PLACE = "    _ms_install_invoke_depth()\n"
SHORTEN = f'''
def _shorten_sdk_waits():
    import os
    from botocore.endpoint import EndpointCreator
    from botocore.retries.standard import ExponentialBackoff

    scale = float(os.environ["{SCALE}"])
    pause, create = ExponentialBackoff.delay_amount, EndpointCreator.create_endpoint

    def create_endpoint(self, *arguments, timeout, **options):
        connect, read = timeout
        return create(self, *arguments, timeout=(connect, max(read * scale, min(read, 4))), **options)

    ExponentialBackoff.delay_amount = lambda self, context: scale * pause(self, context)
    EndpointCreator.create_endpoint = create_endpoint
'''


def install() -> None:
    """Shorten the waits of every worker that starts from now on, if the variable is set.

    Raises
    ------
    RuntimeError
        When MiniStack's worker script is not the one this was written for.
    """
    if not os.environ.get(SCALE):
        return
    script = lambda_runtime._PYTHON_WORKER_SCRIPT
    if script.count(PLACE) != 1:
        raise RuntimeError("MiniStack's Python worker: expected one place before the import. Review this piece.")
    lambda_runtime._PYTHON_WORKER_SCRIPT = SHORTEN + script.replace(PLACE, PLACE + "    _shorten_sdk_waits()\n")
