"""Variables in the resources of a policy, which MiniStack's judge takes literally. Runs in the cloud's server.

Follows https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html: a variable stands for the
value of a condition key of the request, and a statement whose variable has no value matches nothing. What a value
holds is taken literally.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ministack.core import iam_evaluator
from ministack.core.iam_evaluator import EvalContext, ParsedStatement

_VARIABLE = re.compile(r"\$\{([A-Za-z0-9:/_-]+)\}")
_first_match = iam_evaluator._first_match


def install() -> None:
    """Put the values in before MiniStack compares."""
    iam_evaluator._first_match = first_match


def first_match(context: EvalContext, statements: list[ParsedStatement], effect: str) -> ParsedStatement | None:
    """Return the first statement with an effect that matches a request, its variables filled in."""
    given = {name.lower(): value for name, value in (context.principal_keys | context.service_context).items()}
    return _first_match(context, [_filled(statement, given) for statement in statements], effect)


def _filled(statement: ParsedStatement, given: Mapping[str, Any]) -> ParsedStatement:
    if not any("${" in resource for resource in (*statement.resources, *statement.not_resources)):
        return statement
    return replace(
        statement,
        # A list without entries would stand for every resource.
        resources=[_resource(resource, given) for resource in statement.resources],
        not_resources=[_resource(resource, given) for resource in statement.not_resources],
    )


def _resource(resource: str, given: Mapping[str, Any]) -> str:
    values = {name: given.get(name.lower()) for name in _VARIABLE.findall(resource)}
    if not all(isinstance(value, str) and value and not set(value) & set("*?") for value in values.values()):
        return ""
    return _VARIABLE.sub(lambda match: str(values[match[1]]), resource)
