"""The cases of calls, events, people and capacity, with the right verdicts and why. Pure; runs on a person's machine.

A fault that passes must cost nothing: the run succeeds. A refusal that lasts ends in a failure whose reason code is one
of those that are true for the caller, or in a success when the run can do without the call.
"""

from dataclasses import dataclass, field
from typing import Any

from local.aws_faults import ANSWER_LOST

SUCCEEDED = "SUCCEEDED"
PASSING = ("throttled, then fine", "server error, then fine", "cut off, then fine", "answer lost", "very slow")
# What a fault that lasts ends in when the run cannot do without the call: most callers end it with the refusal itself.
LASTING = {"refused": "PermissionMissing", "throttled for long": "AwsUnavailable"}
# The others. Events, sweep and record are done without: the last report, and Cleanup, stand in for them.
ELSEWHERE: dict[str, tuple[str, ...]] = {
    "instance": ("BootFailed", "BootTimedOut", "InstanceLost"),
    "lambda:Cleanup": ("CleanupIncomplete",),
    "states:Cleanup": ("CleanupIncomplete",),
    "lambda:ObserveInstance": (),
    "lambda:ObserveState": (),
    "lambda:SweepRun": (),
    "lambda:StartFromUpload": ("Noted",),
    # The workflow finds out by itself when the drain could end its machine only.
    "lambda:DrainStack": ("StackClosing",),
    "lambda:RecordRun": (),
    "states:RecordRun": (),
}
# What a run ends as where it does not succeed however well all goes, and how it begins for the function to be called.
ENDS = {"lambda:DrainStack": "Aborted"}
STARTS = {"lambda:DrainStack": "destroy", "lambda:StartFromUpload": "upload"}
# Error codes by which a service refuses and throttles.
CODES = {
    "ec2": ("UnauthorizedOperation", "RequestLimitExceeded"),
    "s3": ("AccessDenied", "SlowDown"),
}
OTHER_CODES = ("AccessDeniedException", "ThrottlingException")
# Longer than the caller waits: the functions 4 s (READ_SECONDS at the pace of the arena), the instance 10 s or 30 s.
SLOW_MS, SLOW_INSTANCE_MS = 5_000, 25_000
Known = tuple[str, str, str]
# The ladder of the capacity cases, in the order in which it is walked.
MARKETS, TYPES, ZONES = ("spot", "on_demand"), ("g4dn.xlarge", "g4dn.2xlarge"), ("us-east-1a", "us-east-1b")


@dataclass(frozen=True)
class Case:
    """One run with one thing wrong.

    Parameters
    ----------
    name : str
        Unique; what a person asks for.
    kind : str
        `aws`, `task`, `killed`, `late`, `async`, `machine`, `events`, `people`, `capacity`, `net`, `outage`, `stack`,
        `versions` or `pair`.
    verdicts : tuple of str
        What is right: SUCCEEDED, reason codes, or Noted for an upload that got a note instead of a run.
    why : str
        Why these are right.
    fault : dict
        What the scenario of this kind does.
    """

    name: str
    kind: str
    verdicts: tuple[str, ...]
    why: str
    fault: dict[str, Any] = field(default_factory=dict)


def faults_of(case: Case) -> dict[str, dict[str, Any]]:
    """Return what a case orders by file of faults: states that fail, functions, events, launches."""
    fault = case.fault
    if case.kind == "task":
        return {"tasks": {fault["state"]: fault["fault"]}}
    if case.kind in ("events", "capacity"):
        return {case.kind: fault["set"]}
    return {file: fault[file] for file in ("tasks", "functions") if file in fault}


def calls(caller: str, service: str, operation: str) -> list[Case]:
    """Return the seven faults of one AWS call."""
    refusal, throttle = CODES.get(service, OTHER_CODES)
    effects: dict[str, dict[str, Any]] = {
        "refused": {"error": {"code": refusal, "status": 403}},
        "throttled for long": {"error": {"code": throttle, "status": 503 if service == "s3" else 400}, "times": 60},
        "throttled, then fine": {"error": {"code": throttle, "status": 503 if service == "s3" else 400}, "times": 3},
        "server error, then fine": {"error": {"code": "InternalError", "status": 500}, "times": 3},
        "cut off, then fine": {"reset": True, "times": 2},
        "answer lost": {**ANSWER_LOST, "times": 2},
        "very slow": {"latency": SLOW_INSTANCE_MS if caller == "instance" else SLOW_MS, "times": 1},
    }
    what = {"service": service, "operation": operation}
    return [
        Case(
            f"{caller} {service}:{operation} {name}",
            "aws",
            *_right(caller, name),
            {"caller": caller, "rule": {**what, **effect}, "start": STARTS.get(caller, ""), "lasts": name in LASTING},
        )
        for name, effect in effects.items()
    ]


def _right(caller: str, fault: str) -> tuple[tuple[str, ...], str]:
    """Return the verdicts that are right for a caller's fault, and why."""
    good = ENDS.get(caller, SUCCEEDED)
    if fault in PASSING:
        return (good,), "the fault passes"
    own = "InternalError" if caller.startswith("states:") else LASTING[fault]
    codes = ELSEWHERE.get(caller, (own,))
    return (good, *codes), "the fault lasts: the code says what was refused, or the run does without the call"


def tasks(state: str) -> list[Case]:
    """Return the faults of the one call that a state makes: it invokes its Lambda."""
    refused, busy = "Lambda.AWSLambdaException", "Lambda.TooManyRequestsException"
    faults: dict[str, dict[str, Any]] = {
        "refused": {"error": refused},
        "throttled for long": {"error": busy, "times": 60},
        "throttled, then fine": {"error": busy, "times": 3},
        "server error, then fine": {"error": "Lambda.ServiceException", "times": 3},
        "cut off, then fine": {"error": "Lambda.SdkClientException", "times": 2},
        "answer lost": {"error": "Lambda.SdkClientException", "times": 2, "after": True},
        "very slow": {"seconds": 6, "times": 1},
    }
    return [
        Case(
            f"states:{state} lambda:Invoke {name}",
            "task",
            *_right(f"states:{state}", name),
            {"state": state, "fault": fault},
        )
        for name, fault in faults.items()
    ]


def events() -> list[Case]:
    """Return each kind of event gone astray."""
    report, changed = "Object Created", "EC2 Instance State-change Notification"
    ended = "Step Functions Execution Status Change"
    right = (SUCCEEDED,)
    cases = [
        Case(f"events {kind} {what}", "events", right, "at least once, in no order", {"set": {kind: fault}})
        for kind in (report, changed, ended)
        for what, fault in (
            ("doubled", {"do": "double", "seconds": 1}),
            ("reordered", {"do": "reorder", "seconds": 2}),
            ("delayed", {"do": "delay", "seconds": 4}),
        )
    ]
    cases += [
        Case(
            f"events {kind} of an old run",
            "events",
            right,
            "an old run's events say nothing of this one",
            {"set": {kind: {"do": "replay"}}, "after_a_run": True},
        )
        for kind in (report, changed, ended)
    ]
    cases += [
        Case(
            f"events {kind} delayed past the next attempt",
            "events",
            right,
            "a lost attempt says nothing of the next",
            {"set": {kind: {"do": "delay", "seconds": seconds}}, "machine": act},
        )
        for kind, act, seconds in ((report, "killed", 8), (changed, "hung", 20))
    ]
    cases += [
        Case(f"events {kind} dropped", "events", right, "a success needs none", {"set": {kind: {"do": "drop"}}})
        for kind in (changed, ended)
    ]
    deaf = (SUCCEEDED, "BootTimedOut")
    why = "what EC2 says of the machine's end brings its last report, unless the time to boot was over before"
    cases.append(Case("events Object Created dropped", "events", deaf, why, {"set": {report: {"do": "drop"}}}))
    return cases  # fmt: skip


def people() -> list[Case]:
    """Return what people do in the middle of a run."""
    aborted, late = ("Aborted",), ("CollectOutcome", "Cleanup", "WaitForDeletion", "RecordRun")
    stages = ("AcceptRun", "LaunchInstance", "WaitForCapacity", "AwaitTraining", *late)
    # What makes a run wait in the two states that most runs never enter.
    refusal = {"service": "ec2", "operation": "TerminateInstances", "error": {"code": CODES["ec2"][0], "status": 403}}
    waits: dict[str, dict[str, Any]] = {
        "WaitForCapacity": {
            "set": {"*": "InsufficientInstanceCapacity"}, "request": {"capacity_wait_minutes": 20},
        },
        "WaitForDeletion": {"rules": (refusal,)},
    }  # fmt: skip
    cases = [
        Case(
            f"people abort in {stage}",
            "people",
            aborted if stage not in late else (*aborted, SUCCEEDED),
            "a person stopped it, or came too late",
            {"do": "abort", "state": stage, **waits.get(stage, {})},
        )
        for stage in stages
    ]
    # The sweep stops what it finds redriven. A stop that came too late, or before there was a run, may end in success.
    ended = ("RunEnded", *aborted)
    cases += [
        Case(
            f"people abort in {stage} and redrive {'after the sweep' if swept else 'at once'}",
            "people",
            ended if stage not in late and (swept or stage != "AcceptRun") else (*ended, SUCCEEDED),
            "a run that has ended stays ended, and its record says what it ended as",
            {"do": "redrive", "state": stage, "swept": swept, **waits.get(stage, {})},
        )
        for stage in stages
        for swept in (False, True)
    ]
    return [*cases, Case("people start twice at once", "people", (SUCCEEDED,), "one run", {"do": "twice"})]


def capacity() -> list[Case]:
    """Return each rung of the ladder refused, all of them for a while or for good, and refused launches."""
    short, unclear = "InsufficientInstanceCapacity", "InternalError"
    rungs = [f"{kind}/{market}/{zone}" for market in MARKETS for kind in TYPES for zone in ZONES]
    ladder = {"market": "spot_then_on_demand", "instance_types": list(TYPES)}
    cases = [
        Case(
            f"capacity {count} of {len(rungs)} rungs refused",
            "capacity",
            (SUCCEEDED,),
            "the next rung has it",
            {"set": dict.fromkeys(rungs[:count], short), "request": ladder, "rung": rungs[count]},
        )
        for count in range(1, len(rungs))
    ]
    partial = [
        Case(
            f"capacity launched and answered with {code}{' for long' if times > 2 else ''}",
            "capacity",
            right,
            why,
            {"set": {"*": {"error": code, "times": times, "made": True}}},
        )
        for code, times, right, why in (
            (unclear, 2, (SUCCEEDED,), "the same token gives the same instance"),
            (unclear, 60, (SUCCEEDED, "AwsUnavailable"), "EC2 answers nothing else, unless the machine's report does"),
            (short, 2, (SUCCEEDED,), "the next rung has it, and the machine nobody knows of is ended"),
        )
    ]
    return [
        *cases,
        *partial,
        Case("capacity all refused", "capacity", ("CapacityUnavailable",), "nobody has it", {"set": {"*": short}}),
        Case("capacity comes while the run waits", "capacity", (SUCCEEDED,), "a later round has it",
             {"set": {"*": {"error": short, "times": 5}}, "request": {"capacity_wait_minutes": 20}}),
        Case("capacity never comes while the run waits", "capacity", ("CapacityUnavailable",), "nobody has it in time",
             {"set": {"*": short}, "request": {"capacity_wait_minutes": 1.1}}),
        Case("capacity quota reached", "capacity", ("QuotaTooLow",), "the account's limit",
             {"set": {"*": "VcpuLimitExceeded"}}),
    ]  # fmt: skip
