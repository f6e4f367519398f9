"""Write control_registry.json, the list of all runs, from the table. Runs in Lambda."""

import json
import random
import time

from contracts import layout
from lambdas.adapters.cloud import Cloud
from lambdas.adapters.telemetry import emit, logger
from lambdas.core.records import RunRecord
from lambdas.core.registry import REGISTRY_RUNS, read_model, shown_entries

# Between two tries of a writer that another one came before, each with as much again at random.
PAUSES_SECONDS = (0.1, 0.2, 0.4, 0.8)


def write(cloud: Cloud, record: RunRecord) -> None:
    """Write the registry on condition that it is what was read before the table was.

    `record` is taken as given, the table's index may lag behind it. Whoever comes first again and again has read the
    table after this record was written, and so shows it: to lose every try costs nothing but a line in the log.
    """
    for pause in (*PAUSES_SECONDS, None):
        content, etag = cloud.objects.current(layout.REGISTRY)
        others = [r for r in cloud.runs.newest(REGISTRY_RUNS) if r.run_id != record.run_id]
        model = read_model([record, *others], cloud.objects.bucket, cloud.now(), shown_entries(content))
        if cloud.objects.replace(layout.REGISTRY, json.dumps(model, indent=2).encode(), etag):
            return
        if pause is not None:
            time.sleep(pause * (1 + random.random()))  # noqa: S311 - spreads writers, hides nothing
    logger.warning("the registry was written by others each time; the next run's end writes it again")
    emit(RegistryRacesLost=1)
