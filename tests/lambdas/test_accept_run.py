"""State AcceptRun: accepted once or refused with its reason, before anything is launched. Runs on moto."""

import pytest
from botocore.exceptions import ClientError

from contracts.reasons import (
    CostCapTooLow,
    DatasetInvalid,
    DatasetNotFound,
    ModelWeightsMissing,
    MonthlyBudgetExceeded,
    QuotaTooLow,
    RequestInvalid,
)
from lambdas import accept_run
from lambdas.adapters import quotas
from lambdas.adapters.clients import client

RUN_ID = "20261123-180000"
PREFIX = "phase1/2026/11/23-180000/"


@pytest.fixture
def accept(world, event):
    """Return a function that runs the handler with a request."""

    def call(request, **changes):
        return accept_run.handler({**event("state_accept_run"), "request": request, **changes}, world.context)

    return call


def test_an_empty_request_runs_the_newest_data_set_with_every_default(world, accept, event):
    world.put_inputs()

    answer = accept(event("request_minimal"))

    assert answer == {
        "run_id": RUN_ID, "prefix": PREFIX, "dataset": "stocks", "at_most_usd": 1.54,
        "boot_timeout_seconds": 900, "heartbeat_timeout_seconds": 180,
    }  # fmt: skip
    assert world.load().request["models"] == ["ChronosZeroShot", "AutoETS"]
    assert world.load().request["dataset"] == "stocks"
    assert world.instances() == []


def test_the_newest_of_several_data_sets_is_taken(world, accept):
    world.put_inputs()
    world.put("datasets/zebra/prices.csv", "unique_id,ds,y\nA,2026-01-01,1\n")

    assert accept({"models": ["AutoETS"]})["dataset"] in {"stocks", "zebra"}
    stored = world.cloud.objects.listed("datasets/")
    newest = max(stored, key=lambda o: (o.modified_at, o.key)).key.split("/")[1]
    assert world.load().request["dataset"] == newest


def test_the_full_request_is_kept_in_the_manifest(world, accept, event):
    world.put_inputs()

    accept(event("request_full"))

    manifest = world.document(f"{PREFIX}manifest.json")
    assert manifest["request"] == event("request_full")
    assert [o["key"] for o in manifest["dataset"]["objects"]] == ["datasets/stocks/prices.csv"]
    assert len(manifest["chronos_weights"]["objects"]) == 2


def test_the_dead_man_switch_is_armed_for_after_the_deadline(world, accept):
    world.put_inputs()

    accept({})

    found = client("scheduler").get_schedule(Name=RUN_ID, GroupName="dead-men")
    # 18:00 and 120 minutes, and 900 s for a machine that boots at the deadline, and the margin of 900 s.
    assert found["ScheduleExpression"] == "at(2026-11-23T20:30:00)"
    assert found["ActionAfterCompletion"] == "DELETE"
    assert found["Target"]["Input"] == (
        '{"source": "dead_man", "run_id": "20261123-180000", "schedule": "20261123-180000"}'
    )


def test_called_twice_for_one_execution_it_registers_one_run(world, accept):
    world.put_inputs()

    first, second = accept({}), accept({})

    assert first == second
    assert [record.run_id for record in world.cloud.runs.newest(10)] == [RUN_ID]


def test_a_second_run_of_the_same_second_gets_a_suffix(world, accept, event):
    world.put_inputs()
    accept({})

    other = event("state_accept_run")["execution_arn"].replace("run-1", "run-2")
    answer = accept({}, execution_arn=other)

    assert answer["run_id"] == f"{RUN_ID}-2"
    assert answer["prefix"] == "phase1/2026/11/23-180000-2/"
    assert world.document("phase1/2026/11/23-180000-2/manifest.json")["run_id"] == f"{RUN_ID}-2"


@pytest.mark.parametrize(
    ("request_document", "error", "message"),
    [
        ({"modles": []}, RequestInvalid, "modles: expected no such field (did you mean models?"),
        ([], RequestInvalid, "run_request: expected object"),
        ({"dataset": "bonds"}, DatasetNotFound, "below datasets/bonds/, found nothing"),
        ({"max_cost_usd": 1}, CostCapTooLow, "max_cost_usd: expected at least 1.54"),
        ({"chronos_weights": "big"}, ModelWeightsMissing, "below cached-models/big/, found nothing"),
    ],
)
def test_a_request_that_cannot_run_is_refused_with_the_field_named(world, accept, request_document, error, message):
    world.put_inputs()

    with pytest.raises(error) as caught:
        accept(request_document)

    assert message in caught.value.message
    assert world.cloud.runs.newest(1) == []
    assert not world.armed()


def test_without_any_data_set_the_message_says_where_to_upload(accept):
    with pytest.raises(DatasetNotFound, match="files below datasets/<name>/, found none"):
        accept({})


def test_a_folder_without_data_files_is_no_data_set(world, accept):
    world.put("datasets/notes/readme.md", "text")

    with pytest.raises(DatasetNotFound, match="found 1 other or empty objects"):
        accept({"dataset": "notes"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("unique_id,ds\nA,2026-01-01\n", "datasets/stocks/bad.csv: expected the columns unique_id, ds, y"),
        ("unique_id,ds,y\nA,2026-01-01,1\nA,2026-01-01,2\n", "datasets/stocks/bad.csv, column ds, row 2"),
        ("unique_id,ds,y\nA,2026-01-01,x\n", "datasets/stocks/bad.csv, column y, row 1"),
    ],
)
def test_a_data_file_that_cannot_be_used_is_refused_with_file_column_and_row(world, accept, text, message):
    world.put_inputs()
    world.put("datasets/stocks/bad.csv", text)

    with pytest.raises(DatasetInvalid) as caught:
        accept({"dataset": "stocks"})

    assert message in caught.value.message


def test_a_file_that_is_only_called_parquet_is_refused(world, accept):
    world.put_inputs()
    world.put("datasets/fake/prices.parquet", "text")

    with pytest.raises(DatasetInvalid, match=r"datasets/fake/prices\.parquet: expected a Parquet file"):
        accept({"dataset": "fake"})


def test_pickled_weights_are_refused(world, accept):
    world.put_inputs()
    world.put("cached-models/chronos-bolt-nano/pytorch_model.bin", "pickle")

    with pytest.raises(ModelWeightsMissing, match=r"pytorch_model\.bin: expected safetensors only"):
        accept({})


def test_without_a_chronos_model_no_weights_are_needed(world, accept):
    world.put("datasets/stocks/prices.csv", "unique_id,ds,y\nA,2026-01-01,1\n")

    accept({"models": ["AutoETS"]})

    assert world.document(f"{PREFIX}manifest.json")["chronos_weights"] is None


def test_runs_that_still_go_on_count_against_the_month_s_budget(world, accept, event):
    world.put_inputs()
    world.register(estimate_usd=49.0)

    with pytest.raises(MonthlyBudgetExceeded, match=r"49\.00 USD spent or reserved"):
        accept({}, execution_arn=event("state_accept_run")["execution_arn"] + "-other")


class _Quotas:
    def __init__(self, value):
        self.value = value

    def get_service_quota(self, **_asked):
        if self.value is None:
            raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, "GetServiceQuota")
        return {"Quota": {"Value": self.value}}


@pytest.mark.parametrize("value", [8.0, None], ids=["enough", "unreadable"])
def test_a_quota_that_suffices_or_cannot_be_read_does_not_stop_the_run(world, accept, monkeypatch, value):
    world.put_inputs()
    monkeypatch.setattr(quotas, "client", lambda _service: _Quotas(value))

    assert accept({})["run_id"] == RUN_ID


def test_a_quota_of_zero_is_refused_with_the_command_to_raise_it(world, accept, monkeypatch):
    world.put_inputs()
    monkeypatch.setattr(quotas, "client", lambda _service: _Quotas(0.0))

    with pytest.raises(QuotaTooLow, match="request-service-quota-increase"):
        accept({})


@pytest.mark.parametrize("name", ["../../evil.csv", "a//b.csv", "a\\b.csv", "a\nb.csv", "\x1b[2J.csv", "\u202egpj.csv"])
def test_a_data_file_whose_key_is_no_plain_path_is_refused_before_anything_is_launched(world, accept, name):
    world.put_inputs()
    world.put(f"datasets/stocks/{name}", "unique_id,ds,y\na,2024-01-01,1\n")

    with pytest.raises(DatasetInvalid, match="expected a plain path below datasets/stocks/") as refused:
        accept({"dataset": "stocks"})

    assert not any(character in str(refused.value) for character in "\n\x1b\u202e")
    assert world.instances() == []


def test_a_weights_folder_with_such_a_key_is_refused(world, accept):
    world.put_inputs()
    world.put("cached-models/chronos-bolt-nano/../config.json", "{}")

    with pytest.raises(ModelWeightsMissing, match="expected a plain path"):
        accept({"dataset": "stocks"})


@pytest.mark.parametrize("name", ["..", "<script>alert(1)</script>", "a b", "$(reboot)", ".hidden"])
def test_a_folder_that_no_request_can_name_is_not_taken_as_the_newest_data_set(world, accept, name):
    world.put(f"datasets/{name}/prices.csv", "unique_id,ds,y\na,2024-01-01,1\n")

    with pytest.raises(DatasetNotFound, match="found none"):
        accept({})
