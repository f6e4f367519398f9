"""The one place where a Lambda reads its environment. Runs in Lambda."""

import os
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True)
class Settings:
    """What the stack tells its functions."""

    project: str
    bucket: str
    runs_table: str
    launch_template_id: str
    machine_role_id: str
    subnet_ids: tuple[str, ...]
    state_machine_arn: str
    sweep_function_arn: str
    schedule_group: str
    scheduler_role_arn: str
    monthly_budget_usd: float
    dead_man_margin_seconds: int


@lru_cache
def settings() -> Settings:
    """Return the settings of this function; names it was not given are empty."""
    read = os.environ.get
    return Settings(
        project=read("PROJECT", ""),
        bucket=read("BUCKET", ""),
        runs_table=read("RUNS_TABLE", ""),
        launch_template_id=read("LAUNCH_TEMPLATE_ID", ""),
        machine_role_id=read("MACHINE_ROLE_ID", ""),
        subnet_ids=tuple(filter(None, read("SUBNET_IDS", "").split(","))),
        state_machine_arn=read("STATE_MACHINE_ARN", ""),
        sweep_function_arn=read("SWEEP_FUNCTION_ARN", ""),
        schedule_group=read("SCHEDULE_GROUP", ""),
        scheduler_role_arn=read("SCHEDULER_ROLE_ARN", ""),
        monthly_budget_usd=float(read("MONTHLY_BUDGET_USD", "0")),
        dead_man_margin_seconds=int(read("DEAD_MAN_MARGIN_SECONDS", "900")),
    )
