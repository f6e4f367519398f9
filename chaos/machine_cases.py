"""What befalls the machine in each phase, and the verdicts that are right. Pure; runs on a person's machine."""

from chaos.cases import SUCCEEDED, Case

BOOT = "boot"
WORKING = ("preflight", "data_sync", "training", "results_sync")
PHASES = (BOOT, *WORKING)
LOST = ("InstanceLost", "BootTimedOut", "HeartbeatLost")
SHORT_CUT_SECONDS, LONG_CUT_SECONDS = 4, 30
# What a disk without room ends in: a machine that cannot say anything is lost, and lost machines are tried again.
FULL = {
    "boot": (SUCCEEDED, "BootFailed"),
    "preflight": (SUCCEEDED, "PreflightFailed", "DataSyncFailed"),
    "data_sync": (SUCCEEDED, "DataSyncFailed"),
    "training": ("TrainingFailed",),
    "results_sync": (SUCCEEDED, "ResultsSyncFailed"),
}
# A network that is gone for long, for every machine: a new attempt, which may boot while it still is gone, or the code
# of the phase that needed it.
CUT = {
    "boot": (SUCCEEDED, *LOST, "BootFailed"),
    "preflight": (SUCCEEDED, *LOST, "BootFailed", "DataSyncFailed"),
    "data_sync": (SUCCEEDED, *LOST, "BootFailed", "DataSyncFailed"),
    "training": (SUCCEEDED, *LOST, "BootFailed", "ResultsSyncFailed"),
    "results_sync": (SUCCEEDED, *LOST, "BootFailed", "ResultsSyncFailed"),
}


def machine() -> list[Case]:
    """Return every case of the machine."""
    return _lost() + _silent() + _starved() + _special()


def _lost() -> list[Case]:
    right = (SUCCEEDED,)
    cases = [
        _case(what, phase, right, why)
        for phase in PHASES
        for what, why in (
            ("killed", "a new attempt goes on"),
            ("stopped", "stopped from outside is lost: a new attempt goes on"),
            ("hung", "silence is found out and a new attempt goes on"),
            ("interrupted", "resumed on a new attempt, or done in time"),
        )
    ]
    bounded = "attempts are bounded"
    return [
        *cases,
        *(_case("killed", phase, LOST, bounded, every=True) for phase in (BOOT, "training")),
        _case("interrupted", "training", ("SpotInterrupted", "InstanceLost"), bounded, every=True),
    ]


def _silent() -> list[Case]:
    stalled = [_case("stalled", phase, ("NoProgress",), "alive without progress") for phase in WORKING]
    short = [
        _case("cut off", phase, (SUCCEEDED,), "short silence is no death", seconds=SHORT_CUT_SECONDS)
        for phase in PHASES
    ]
    why = "long silence is a lost machine: a new attempt, or a clear end"
    long = [_case("cut off for long", phase, CUT[phase], why, seconds=LONG_CUT_SECONDS) for phase in PHASES]
    return stalled + short + long + _wrong_clocks()


def _wrong_clocks() -> list[Case]:
    why = "S3 refuses what is signed at another time: the machine is silent, and a new attempt's clock is right"
    return [_case(f"clock {way}", phase, (SUCCEEDED,), why) for phase in PHASES for way in ("ahead", "behind")]


def _starved() -> list[Case]:
    full = [
        _case("disk full", phase, FULL[phase], "what needs the disk says so, or is tried again") for phase in PHASES
    ]
    killed = ("TrainingFailed", "OutOfMemory")
    return full + [_case("out of memory", phase, killed, "the kernel ended the worker") for phase in WORKING]


def _special() -> list[Case]:
    return [
        Case("machine finds a corrupt data set", "machine", ("DatasetInvalid", "DataSyncFailed"),
             "the data are to blame", {"do": "corrupt"}),
        _case("alive beside the next attempt", "training", (SUCCEEDED,), "only the current attempt's reports count"),
    ]  # fmt: skip


def _case(what: str, phase: str, right: tuple[str, ...], why: str, every: bool = False, seconds: int = 0) -> Case:
    name = f"machine {what} in {phase}{' every time' if every else ''}"
    return Case(name, "machine", right, why, {"do": what, "phase": phase, "every": every, "seconds": seconds})
