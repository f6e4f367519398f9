"""A stack's deletion keeps what a resource needs that could not be deleted. Runs in the cloud's server.

Follows https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/aws-attribute-dependson.html (what a resource
depends on is deleted after it). MiniStack goes on to delete the function of a custom resource that refused, and so the
stack can never be deleted again.
"""

from typing import Any

from ministack.services import cloudformation
from ministack.services.cloudformation import stacks

DELETING = "DELETE_IN_PROGRESS"
# Where a stack keeps the resources that could not be deleted.
_FAILED = "_could_not_be_deleted"


class ResourceNeeded(RuntimeError):
    """Something that could not be deleted depends on the resource."""


def install() -> None:
    """Put the correction in place."""
    delete = stacks._delete_resource

    def kept_while_needed(kind: str, physical_id: str, properties: Any, stack_name: str, logical_id: str) -> Any:
        stack = cloudformation._stacks.get(stack_name) or {}
        if stack.get("StackStatus") != DELETING:
            return delete(kind, physical_id, properties, stack_name, logical_id)
        failed: set[str] = stack.setdefault(_FAILED, set())
        definitions = (stack.get("_template") or {}).get("Resources", {})
        if logical_id in stacks._with_dependencies(failed, definitions, set(stack["_resources"])) - failed:
            raise ResourceNeeded(f"{logical_id} is needed by {', '.join(sorted(failed))}, which could not be deleted.")
        # Dependents go first, so one that failed the last time is known to be gone before what it needs is reached.
        failed.add(logical_id)
        answer = delete(kind, physical_id, properties, stack_name, logical_id)
        failed.discard(logical_id)
        return answer

    stacks._delete_resource = kept_while_needed
