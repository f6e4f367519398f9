"""What the properties draw: requests, system states, records, valid, broken and hostile. Runs under pytest."""

import string
from typing import Any

from hypothesis import strategies as st

from contracts.documents import schema
from contracts.layout import run_prefix
from contracts.models import ENSEMBLE
from contracts.prices import prices
from lambdas.core.acceptance import checked_request, deadline_at
from lambdas.core.records import Attempt, RunRecord

RUN_ID = "20261123-180000"
OTHER_RUN = "20261123-190000"
INSTANCE = "i-0123456789abcdef0"
OTHER_INSTANCE = "i-0fedcba9876543210"
CREATED_AT = 1795456800
ARN = "arn:aws:states:us-east-1:123456789012:execution:ChronosTraining-training:run-1"

# Text that breaks naive readers: NUL, line ends, right-to-left, half a surrogate pair, markup, paths.
HOSTILE_TEXT = [
    "",
    "\x00",
    "\r\n{}",
    "\u202eabc",
    "\ud800",
    "é" * 300,
    "<script>",
    "../../etc",
    "${jndi:x}",
    "NaN",
    "1e999",
]
HOSTILE_NUMBERS = [0, -1, 1, 2**31, 2**53, 2**63, 10**30, 10**400, 0.5, -0.0, 1e308, 5e-324, 1e16]

texts = st.one_of(st.sampled_from(HOSTILE_TEXT), st.text(max_size=20))
scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.sampled_from(HOSTILE_NUMBERS),
                    st.floats(allow_nan=False, allow_infinity=False), texts)  # fmt: skip
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4)),
    max_leaves=12,
)
statuses = st.sampled_from(["booting", "running", "completed", "failed", "interrupted"])
phases = st.sampled_from(["boot", "preflight", "data_sync", "training", "results_sync", "done"])


def nested(depth: int) -> Any:
    """Return a list in a list, `depth` levels deep."""
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


def of_field(field: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Return the values that a field of a JSON Schema takes."""
    if "const" in field:
        return st.just(field["const"])
    if "enum" in field:
        return st.sampled_from(field["enum"])
    kinds = field["type"] if isinstance(field["type"], list) else [field["type"]]
    return st.one_of([_of_kind(kind, field) for kind in kinds])


def _of_kind(kind: str, field: dict[str, Any]) -> st.SearchStrategy[Any]:
    match kind:
        case "null":
            return st.none()
        case "boolean":
            return st.booleans()
        case "integer":
            return st.integers(field["minimum"], field["maximum"])
        case "number":
            low = field.get("minimum", field.get("exclusiveMinimum"))
            high = field.get("maximum", field.get("exclusiveMaximum"))
            return st.floats(
                low, high, exclude_min="exclusiveMinimum" in field, exclude_max="exclusiveMaximum" in field
            )
        case "string":
            return st.from_regex(field["pattern"].replace("$", r"\Z"))
        case _:
            size = {"min_size": field.get("minItems", 0), "max_size": min(8, field.get("maxItems", 8))}
            return st.lists(of_field(field["items"]), unique=True, **size)


REQUEST_FIELDS = schema("run_request")["properties"]


DEAREST_USD = max(kind["on_demand"] for kind in prices()["instance_usd_per_hour"].values())


def _consistent(request: dict[str, Any]) -> dict[str, Any]:
    """Return the request with the rules kept that the schema does not have: order, overlap, ensemble, price, wait."""
    if "quantile_levels" in request:
        request["quantile_levels"].sort()
    for name in ("past_covariates", "known_covariates"):
        if name in request:
            request[name] = [c for c in request[name] if c not in ("unique_id", "ds", "y")]
    known = set(request.get("known_covariates", []))
    if "past_covariates" in request:
        request["past_covariates"] = [c for c in request["past_covariates"] if c not in known]
    if ENSEMBLE in request.get("models", []):
        request["models"] = sorted({*request["models"], "SeasonalNaive", "AutoETS"})
    if (request.get("max_usd_per_hour") or DEAREST_USD) < DEAREST_USD:
        request["market"] = "spot"
    if request.get("capacity_wait_minutes", 0) >= request.get("max_runtime_minutes", 120):
        del request["capacity_wait_minutes"]
    return request


valid_requests = st.fixed_dictionaries({}, optional={n: of_field(f) for n, f in REQUEST_FIELDS.items()}).map(
    _consistent
)
names = st.one_of(st.sampled_from(sorted(REQUEST_FIELDS)), st.text(string.ascii_lowercase + "_", max_size=20), texts)


@st.composite
def broken_requests(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a valid request with some fields replaced, or added, by anything."""
    return draw(valid_requests) | draw(st.dictionaries(names, values, min_size=1, max_size=3))


def report(seq: int, status: str = "running", **more: Any) -> dict[str, Any]:
    """Return a system state of the current attempt of `record()`."""
    phase = {"booting": "boot", "completed": "done"}.get(status, "training")
    state = {
        "schema_version": 1, "run_id": RUN_ID, "attempt": 1, "instance_id": INSTANCE, "seq": seq, "status": status,
        "phase": phase, "heartbeat_at": "2026-11-23T18:05:00Z", "progress": None, "error": None,
    }  # fmt: skip
    return state | more


progress = st.none() | st.builds(
    lambda step, total: {"step": step, "total": total, "unit": "series"},
    st.integers(0, 10**12),
    st.none() | st.integers(0, 9),
)
errors = st.none() | st.builds(
    lambda code, message: {"code": code, "message": message},
    st.sampled_from(["TrainingFailed", "OutOfMemory", "SpotInterrupted", "InstanceLost", "NoSuchReason", "Aborted"]),
    st.text(max_size=50),
)
own_reports = st.builds(report, st.integers(1, 12), statuses, phase=phases, progress=progress, error=errors)
any_reports = st.builds(
    report,
    st.integers(1, 12),
    statuses,
    phase=phases,
    progress=progress,
    error=errors,
    attempt=st.integers(1, 3),
    instance_id=st.sampled_from([INSTANCE, OTHER_INSTANCE]),
    run_id=st.sampled_from([RUN_ID, OTHER_RUN]),
)


def record(request: dict[str, Any] | None = None, **changes: Any) -> RunRecord:
    """Return the record of a run in training; arguments are fields to change."""
    asked = checked_request(request or {})
    made = RunRecord(
        run_id=RUN_ID, execution_arn=ARN, prefix=run_prefix(RUN_ID), request=asked, created_at=CREATED_AT,
        deadline_at=deadline_at(asked, CREATED_AT), status="training", stage="training", task_token="token",
        instance_id=INSTANCE, launch_started_at=CREATED_AT + 10, launch_ended_at=CREATED_AT + 12,
    )  # fmt: skip
    return made.with_changes(changes)


moments = st.one_of(st.just(0), st.integers(CREATED_AT, CREATED_AT + 90_000))
attempts = st.builds(
    Attempt,
    st.integers(1, 5),
    st.sampled_from([INSTANCE, OTHER_INSTANCE]),
    st.sampled_from(["g4dn.xlarge", "g4dn.2xlarge", "g4dn.4xlarge"]),
    st.sampled_from(["on_demand", "spot"]),
    st.just("us-east-1a"),
    st.integers(CREATED_AT, CREATED_AT + 9000),
    moments,
)
_FEW_FIELDS = ("max_attempts", "phase_timeout_seconds", "no_progress_timeout_seconds", "max_runtime_minutes")
_MOMENTS = (
    "booted_at", "phase_at", "progress_at", "heartbeat_at",
    "interruption_at", "closed_at", "rung_at", "launch_ended_at",
)  # fmt: skip
records = st.builds(
    record,
    st.fixed_dictionaries({}, optional={name: of_field(REQUEST_FIELDS[name]) for name in _FEW_FIELDS}),
    attempt=st.integers(1, 5),
    attempts=st.lists(attempts, max_size=3).map(tuple),
    stage=st.sampled_from(["", "boot", "training"]),
    state=st.just("") | statuses,
    instance_id=st.sampled_from(["", INSTANCE]),
    seq=st.integers(0, 12),
    phase=st.just("") | phases,
    progress=st.sampled_from(["", "training 3/9 series"]),
    error_code=st.sampled_from(["", "TrainingFailed", "SpotInterrupted", "NoSuchReason"]),
    error_message=st.text(max_size=30),
    **dict.fromkeys(_MOMENTS, moments),
)
