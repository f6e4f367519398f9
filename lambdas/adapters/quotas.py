"""Service Quotas: the vCPUs an account may use for G and VT instances. Runs in Lambda."""

from botocore.exceptions import BotoCoreError, ClientError

from lambdas.adapters.clients import client
from lambdas.adapters.telemetry import logger
from lambdas.core.ladder import QUOTA_CODES


def vcpu_quotas(markets: tuple[str, ...]) -> dict[str, float | None]:
    """Return the quota of each market, None where it cannot be read: EC2 itself then says whether it suffices."""
    return {market: _quota(QUOTA_CODES[market]) for market in markets}


def _quota(code: str) -> float | None:
    try:
        answer = client("service-quotas").get_service_quota(ServiceCode="ec2", QuotaCode=code)
    except (ClientError, BotoCoreError) as error:
        logger.warning(
            "could not read a quota, going on without", extra={"quota_code": code, "problem": str(error)[:300]}
        )
        return None
    return float(answer["Quota"]["Value"])
