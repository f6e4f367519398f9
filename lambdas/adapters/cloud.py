"""All adapters of a function, made from its settings. Runs in Lambda."""

import time
from dataclasses import dataclass

from contracts import layout
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
    def now() -> int:
        """Return the time, in epoch seconds."""
        return int(time.time())


def cloud() -> Cloud:
    """Return the adapters of this function."""
    given = settings()
    return Cloud(
        settings=given,
        objects=Objects(given.bucket),
        runs=RunsTable(given.runs_table),
        compute=Compute(given.project, given.launch_template_id),
        schedules=Schedules(given.schedule_group, given.scheduler_role_arn, given.sweep_function_arn),
    )
