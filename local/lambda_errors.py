"""Lambda errors under the name of their exception class, as AWS reports them. Runs in the cloud's server.

Follows https://docs.aws.amazon.com/lambda/latest/dg/python-exceptions.html. MiniStack calls every error of a Python
handler Runtime.HandlerError, so no Retry or Catch of a state machine that names a class would match.
"""

import threading
from typing import Any

from ministack.core import lambda_runtime
from ministack.services import lambda_svc

SENT = '"error": str(e), "trace"'
SENT_WITH_TYPE = '"error": str(e), "type": type(e).__name__, "trace"'
UNNAMED = "Runtime.HandlerError"


class LambdaErrors:
    """Carries the class name from the worker process to the invocation's answer."""

    def __init__(self) -> None:
        self._invoke = lambda_runtime.Worker.invoke
        self._execute = lambda_svc._execute_function_warm
        self._last = threading.local()

    def install(self) -> None:
        """Put the correction in place.

        Raises
        ------
        RuntimeError
            When MiniStack's worker script is not the one this was written for.
        """
        script = lambda_runtime._PYTHON_WORKER_SCRIPT
        if SENT not in script:
            raise RuntimeError("MiniStack's Python worker: expected its error line, found another. Review this piece.")
        lambda_runtime._PYTHON_WORKER_SCRIPT = script.replace(SENT, SENT_WITH_TYPE)
        errors = self

        def invoke(worker: Any, *arguments: Any, **fields: Any) -> Any:
            result = errors._invoke(worker, *arguments, **fields)
            errors._last.result = result
            return result

        lambda_runtime.Worker.invoke = invoke
        lambda_svc._execute_function_warm = self.execute

    def execute(self, function: Any, event: Any, request_id: str) -> Any:
        """Run a function and name its error."""
        self._last.result = {}
        answer = self._execute(function, event, request_id)
        body, seen = answer.get("body"), self._last.result
        if answer.get("error") and isinstance(body, dict) and body.get("errorType") == UNNAMED and "type" in seen:
            trace = seen.get("trace", "").splitlines()
            body.update({"errorType": seen["type"], "requestId": request_id, "stackTrace": trace})
        return answer
