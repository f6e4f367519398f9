"""The closed list of reasons why a run did not succeed, each with a sentence and the next step. Runs everywhere."""

from dataclasses import dataclass

# A cause of this length is recorded whole, together with what is left of a run and where its evidence lies.
CAUSE_LENGTH = 2000
DETAIL_LENGTH = 1200
DETAIL_END = 400


@dataclass(frozen=True)
class Reason:
    """Why a run ended without success.

    Parameters
    ----------
    code : str
        Name in the execution's error, in system-state.json and in docs/operations.md.
    sentence, next_step : str
        What happened and what to do, for the person who started the run.
    retryable : bool
        Whether a new instance can help.
    of_instance : bool
        Whether it can be true of an instance, so that one may report it of itself.
    """

    code: str
    sentence: str
    next_step: str
    retryable: bool = False
    of_instance: bool = False


REASONS: dict[str, Reason] = {
    reason.code: reason
    for reason in [
        Reason(
            "RequestInvalid",
            "The run request is not valid.",
            "Correct the field named in the cause and start again; docs/request.md lists every field.",
        ),
        Reason(
            "DatasetNotFound",
            "The data set is not in the bucket.",
            "Upload Parquet or CSV files below datasets/<name>/ and start again.",
        ),
        Reason(
            "DatasetInvalid",
            "The data set cannot be used.",
            "Correct the file or the request as the cause says, and start again.",
            of_instance=True,
        ),
        Reason(
            "ModelWeightsMissing",
            "The Chronos weights are missing or not usable.",
            "Copy the weights folder (config.json, model.safetensors) to cached-models/<name>/ and start again.",
            of_instance=True,
        ),
        Reason(
            "QuotaTooLow",
            "The account's vCPU quota does not allow the instance.",
            "Ask for more with the command in the cause; AWS answers in hours or days.",
        ),
        Reason(
            "CostCapTooLow",
            "The run could cost more than it may.",
            "Raise max_cost_usd or lower max_runtime_minutes, and start again.",
        ),
        Reason(
            "MonthlyBudgetExceeded",
            "The month's budget does not cover this run.",
            "Wait for the next month, or raise monthly_budget_usd in cdk.json and deploy.",
        ),
        Reason(
            "StackClosing",
            "The stack is being deleted and starts no runs.",
            "Deploy the stack again once it is deleted; if its deletion failed, delete it again.",
        ),
        Reason(
            "CapacityUnavailable",
            "AWS had no capacity in any zone, instance type and market that the request allows.",
            "Allow more instance_types or another market, let the run wait with capacity_wait_minutes, "
            "or start again later.",
        ),
        Reason(
            "LaunchRefused",
            "EC2 refused to launch the instance.",
            "Read the refusal in the cause; after a change of the stack, deploy again.",
        ),
        Reason(
            "BootTimedOut",
            "The instance did not report within the boot timeout.",
            "Read logs/ of the run: console and cloud-init output show how far the boot came.",
            retryable=True,
        ),
        Reason(
            "BootFailed",
            "The instance's bootstrap failed.",
            "Read logs/attempt-<n>/bootstrap.log of the run, correct what it names and start again.",
            of_instance=True,
        ),
        Reason(
            "PreflightFailed",
            "The machine is not fit for the run.",
            "Read the cause: without a GPU set allow_cpu, with a full disk use a larger volume.",
            of_instance=True,
        ),
        Reason(
            "DataSyncFailed",
            "The data could not be copied to the instance intact.",
            "Start again; if it repeats, upload the named object again.",
            retryable=True,
            of_instance=True,
        ),
        Reason(
            "TrainingDiverged",
            "The loss of the fine-tuning was no longer a number.",
            "Lower fine_tuning_learning_rate, look for extreme values in the data, and start again.",
            of_instance=True,
        ),
        Reason(
            "OutOfMemory",
            "The memory of the machine or of its GPU does not hold the work.",
            "Use smaller Chronos weights or a larger instance type, and start again.",
            of_instance=True,
        ),
        Reason(
            "TrainingFailed",
            "The training process failed.",
            "Read logs/attempt-<n>/training.log of the run; the cause holds its last error.",
            of_instance=True,
        ),
        Reason(
            "ResultsSyncFailed",
            "The results could not be uploaded.",
            "Start again; finished parts are kept in checkpoints/ and are not computed twice.",
            retryable=True,
            of_instance=True,
        ),
        Reason(
            "ArtifactsInvalid",
            "The instance reported success, but artifacts are missing or differ from their checksums.",
            "Do not use this run's files; start again.",
        ),
        Reason(
            "HeartbeatLost",
            "The instance fell silent for longer than the heartbeat timeout.",
            "Read logs/ of the run; a machine out of memory falls silent too.",
            retryable=True,
        ),
        Reason(
            "NoProgress",
            "The instance was alive but made no progress within the no-progress timeout.",
            "Read logs/attempt-<n>/training.log of the run; "
            "raise no_progress_timeout_seconds if a step truly takes longer.",
        ),
        Reason(
            "PhaseTimedOut",
            "A phase took longer than the phase timeout.",
            "Raise phase_timeout_seconds or make the run smaller.",
            of_instance=True,
        ),
        Reason(
            "RunTimedOut",
            "The run took longer than max_runtime_minutes.",
            "Raise max_runtime_minutes or make the run smaller; finished parts are in checkpoints/.",
            of_instance=True,
        ),
        Reason(
            "CostCapReached",
            "The run stopped itself before it would have cost more than max_cost_usd.",
            "Raise max_cost_usd or make the run smaller; finished parts are in checkpoints/.",
            of_instance=True,
        ),
        Reason(
            "SpotInterrupted",
            "AWS took the spot instance back, in every attempt.",
            "Set market to on_demand or spot_then_on_demand, or raise max_attempts.",
            retryable=True,
            of_instance=True,
        ),
        Reason(
            "InstanceLost",
            "The instance went away before the run was done.",
            "The cause says how; who stops or terminates one from outside is in CloudTrail. Start again.",
            retryable=True,
            of_instance=True,
        ),
        Reason(
            "CleanupIncomplete",
            "Cleanup could not remove everything within its time.",
            "Look at cleanup_status.json for what is left and delete it; the run's dead-man schedule goes on trying.",
        ),
        Reason(
            "RunEnded",
            "The run had ended, and a run that has ended is not taken up again, by a redrive either.",
            "Start again with start-execution or a new upload; python -m cli show <run id> says how the run ended.",
        ),
        Reason("Aborted", "The execution was stopped by a person.", "Start again when ready."),
        Reason(
            "ExecutionTimedOut",
            "The execution reached its own time limit.",
            "Look at the execution's history for the state it waited in, and report it: other limits come first.",
        ),
        Reason(
            "PermissionMissing",
            "AWS refused a call for want of a permission.",
            "Deploy the stack again; if it repeats, look for a service control policy, a permissions boundary or a "
            "resource's policy that denies the named action to the named role.",
        ),
        Reason(
            "AwsUnavailable",
            "AWS throttled, failed or did not answer, however often it was asked.",
            "Read the call named in the cause; look at the AWS Health Dashboard, and start again later.",
        ),
        Reason(
            "InternalError",
            "The controller itself failed.",
            "Read the cause and the log of the named Lambda function; report it as a bug.",
        ),
    ]
}


# What a call is not asked again after. Of the others AWS is the cause, and asked again it may answer.
FINAL_CODES = [code for code in REASONS if code not in ("PermissionMissing", "AwsUnavailable")]

# What a machine may say of its own end. Whatever else it says is no reason: see `reported`.
INSTANCE_CODES = frozenset(reason.code for reason in REASONS.values() if reason.of_instance)


def reported(code: str, message: str, fallback: str) -> tuple[str, str]:
    """Return code and message of an instance's report; a code that is not an instance's to give becomes `fallback`.

    What it said is kept in the message: a broken, or a taken over, machine says more about itself than it means to.
    """
    if code in INSTANCE_CODES:
        return code, message
    return fallback, f"The machine gave the reason {code or 'none'}, which no machine can know. It said: {message}"


class RunError(Exception):
    """Base of every error that ends a run or an attempt; the subclass's name is the reason code."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    @property
    def code(self) -> str:
        """The reason code."""
        return type(self).__name__


class RequestInvalid(RunError):
    """The run request is not valid."""


class DatasetNotFound(RunError):
    """The data set is not in the bucket."""


class DatasetInvalid(RunError):
    """The data set cannot be used."""


class ModelWeightsMissing(RunError):
    """The Chronos weights are missing or not usable."""


class QuotaTooLow(RunError):
    """The account's vCPU quota does not allow the instance."""


class CostCapTooLow(RunError):
    """The run could cost more than it may."""


class MonthlyBudgetExceeded(RunError):
    """The month's budget does not cover the run."""


class StackClosing(RunError):
    """The stack is being deleted and starts no runs."""


class CapacityUnavailable(RunError):
    """No rung of the capacity ladder had capacity."""


class LaunchRefused(RunError):
    """EC2 refused the launch for a reason other than capacity."""


class RunEnded(RunError):
    """The run has been closed, so nothing may be done for it any more."""


class PermissionMissing(RunError):
    """AWS refused a call for want of a permission: asked again, it refuses again."""


class PreflightFailed(RunError):
    """The machine is not fit for the run."""


class DataSyncFailed(RunError):
    """The data could not be copied intact."""


class TrainingFailed(RunError):
    """The training process failed."""


class TrainingDiverged(RunError):
    """The loss of the fine-tuning is not a number."""


class OutOfMemory(RunError):
    """Not even the smallest batch fits into memory."""


class ResultsSyncFailed(RunError):
    """The results could not be uploaded."""


class ArtifactsInvalid(RunError):
    """Artifacts are missing or differ from their checksums."""


def explain(code: str, detail: str) -> str:
    """Return the cause of a failed execution: what happened, the detail, the next step. At most about 1,700 letters."""
    reason = REASONS.get(code, REASONS["InternalError"])
    return " ".join(part for part in (reason.sentence, _shortened(detail.strip()), "Next: " + reason.next_step) if part)


def _shortened(detail: str) -> str:
    """Return a detail without its middle when it is long: what failed stands in front, what to do about it behind."""
    if len(detail) <= DETAIL_LENGTH:
        return detail
    return f"{detail[: DETAIL_LENGTH - DETAIL_END - 5]} ... {detail[-DETAIL_END:]}"
