"""All adapters of a function, made from its settings. Runs in Lambda."""

import time
from dataclasses import dataclass

from contracts import layout
from lambdas.adapters.clients import BRIEF, PATIENT, QUICK
from lambdas.adapters.compute import Compute
from lambdas.adapters.objects import Objects
from lambdas.adapters.runs_table import RunsTable
from lambdas.adapters.schedules import Schedules
from lambdas.adapters.settings import Settings, settings
from lambdas.core.records import RunRecord


@dataclass(frozen=True)
class Cloud:
    """What a function can reach."""

    settings: Settings
    objects: Objects
    runs: RunsTable
    compute: Compute
    schedules: Schedules

    def folder(self, record: RunRecord, instance_id: str = "") -> str:
        """Return where a machine of a run writes, that of the current attempt by default; see `layout`."""
        return layout.machine_folder(record.prefix, self.settings.machine_role_id, instance_id or record.instance_id)

    @staticmethod
    def brief() -> "Cloud":
        """Return the same adapters, which give up soon: for what must not wait for a call that hangs."""
        return cloud(brief=True)

    @staticmethod
    def now() -> int:
        """Return the time, in epoch seconds."""
        return int(time.time())


def cloud(brief: bool = False) -> Cloud:
    """Return the adapters of this function; `brief` ones give up soon, for functions that end machines."""
    given = settings()
    pace = BRIEF if brief else PATIENT
    schedules = given.schedule_group, given.scheduler_role_arn, given.sweep_function_arn
    return Cloud(
        settings=given,
        objects=Objects(given.bucket, pace),
        runs=RunsTable(given.runs_table, pace),
        compute=Compute(given.project, given.launch_template_id, pace),
        schedules=Schedules(*schedules, QUICK if brief else PATIENT),
    )
