"""Step Functions: settle waiting states, start and stop executions. Runs in Lambda."""

import json
from typing import Any

from botocore.exceptions import ClientError

from lambdas.adapters.clients import AWS_ERRORS, BRIEF, Pace, client, error_code, error_message
from lambdas.adapters.telemetry import logger
from lambdas.core.reducer import Settlement

# A token that is settled, expired or of a stopped execution: somebody else was first, which is no error.
_SETTLED = ("TaskTimedOut", "TaskDoesNotExist", "InvalidToken")
# What StartExecution refuses for good: asked again, it refuses again.
# https://docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html
_NEVER_STARTS = (
    "InvalidArn",
    "InvalidExecutionInput",
    "InvalidName",
    "StateMachineDeleting",
    "StateMachineDoesNotExist",
    "ValidationException",
)
CAUSE_LIMIT = 30_000


def settle(token: str, settlement: Settlement) -> bool:
    """Tell the waiting state; returns False when it no longer waits."""
    states = client("stepfunctions")
    try:
        if settlement.kind == "heartbeat":
            states.send_task_heartbeat(taskToken=token)
        elif settlement.kind == "success":
            states.send_task_success(taskToken=token, output=json.dumps(settlement.output))
        else:
            states.send_task_failure(taskToken=token, error=settlement.code, cause=settlement.message[:CAUSE_LIMIT])
    except ClientError as error:
        if error_code(error) not in _SETTLED:
            raise
        logger.info("the state no longer waits", extra={"settlement": settlement.kind, "answer": error_code(error)})
        return False
    return True


class StartRefused(Exception):
    """Step Functions refuses to start an execution, and will go on refusing; the message has its answer."""


def start(state_machine_arn: str, name: str, document: str) -> str | None:
    """Start an execution; returns its ARN, None when one of that name ran already. Raises StartRefused."""
    try:
        answer = client("stepfunctions").start_execution(stateMachineArn=state_machine_arn, name=name, input=document)
    except ClientError as error:
        if error_code(error) == "ExecutionAlreadyExists":
            return None
        if error_code(error) in _NEVER_STARTS:
            raise StartRefused(f"{error_code(error)}: {error_message(error)}") from error
        raise
    return str(answer["executionArn"])


def arn_of(state_machine_arn: str, name: str) -> str:
    """Return the ARN that an execution of this name has."""
    return f"{state_machine_arn.replace(':stateMachine:', ':execution:')}:{name}"


def stop(execution_arn: str, error: str, cause: str, pace: Pace = BRIEF) -> None:
    """Stop an execution that still runs; one that has ended stays as it is."""
    try:
        client("stepfunctions", *pace).stop_execution(
            executionArn=execution_arn, error=error, cause=cause[:CAUSE_LIMIT]
        )
    except ClientError as problem:
        if error_code(problem) not in ("ExecutionDoesNotExist", "ValidationException"):
            raise


def running(state_machine_arn: str) -> list[str]:
    """Return the ARNs of the running executions of a state machine."""
    pages = client("stepfunctions").get_paginator("list_executions")
    found = pages.paginate(stateMachineArn=state_machine_arn, statusFilter="RUNNING")
    return [execution["executionArn"] for page in found for execution in page["executions"]]


def history(execution_arn: str) -> list[dict[str, Any]]:
    """Return the events of an execution in order, without their data: at most 25,000, as AWS keeps no more.

    Best effort: [] when AWS refuses, throttles or does not answer soon, since only the cost's smallest part needs it.
    https://docs.aws.amazon.com/step-functions/latest/apireference/API_GetExecutionHistory.html
    """
    try:
        pages = (
            client("stepfunctions", *BRIEF)
            .get_paginator("get_execution_history")
            .paginate(executionArn=execution_arn, includeExecutionData=False, PaginationConfig={"PageSize": 1000})
        )
        return [event for page in pages for event in page["events"]]
    except AWS_ERRORS as error:
        logger.warning("the history could not be read, so transitions are assumed", extra={"problem": str(error)[:300]})
        return []
