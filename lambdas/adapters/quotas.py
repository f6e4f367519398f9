"""Service Quotas: the vCPUs an account may use for G and VT instances. Runs in Lambda and in the CLI."""

from botocore.exceptions import BotoCoreError, ClientError

from lambdas.adapters.clients import client
from lambdas.adapters.telemetry import logger
from lambdas.core.ladder import QUOTA_CODES


def vcpu_quotas(markets: tuple[str, ...]) -> dict[str, float | None]:
    """Return the quota of each market, None where it cannot be read: EC2 itself then says whether it suffices."""
    return {market: _quota_if_readable(market) for market in markets}


def vcpu_quota(market: str) -> float:
    """Return the quota of a market; raises what boto3 raises."""
    answer = client("service-quotas").get_service_quota(ServiceCode="ec2", QuotaCode=QUOTA_CODES[market])
    return float(answer["Quota"]["Value"])


def _quota_if_readable(market: str) -> float | None:
    try:
        return vcpu_quota(market)
    except (ClientError, BotoCoreError) as error:
        logger.warning(
            "could not read a quota, going on without", extra={"market": market, "problem": str(error)[:300]}
        )
        return None
