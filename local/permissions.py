"""IAM enforced: instances hold a session of their role, and every check is on record. Runs in the cloud's server.

MiniStack judges calls by the roles' policies when it is told to (`AUTH=true`), and gives its Lambdas sessions of their
roles. Its instances have none, it asks for less than AWS does (see `local.authorization`), and what it judged is not
kept. `permissions.jsonl` in the state folder has one line per check: who, action, resource, the condition keys that the
request brought, and whether it was allowed.
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
"""

import contextvars
import json
import secrets
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ministack import app
from ministack.core import iam_actions, iam_evaluator, responses
from ministack.services import iam, sts

from local.authorization import Authorization, Check, role_of_profile

# Body and query of the request that is being judged; MiniStack's judge is told neither.
_REQUEST: contextvars.ContextVar[tuple[bytes, Mapping[str, Any]]] = contextvars.ContextVar("request", default=(b"", {}))


class Permissions:
    """Asks what AWS asks, and keeps what IAM judged.

    Parameters
    ----------
    path : Path
        `permissions.jsonl`.
    authorization : Authorization
        What IAM has to allow for a call.
    """

    def __init__(self, path: Path, authorization: Authorization) -> None:
        self._path = path
        self._authorization = authorization
        self._lock = threading.Lock()
        self._enforce = iam_evaluator.enforce
        self._resource = iam_actions.extract_resource_arn

    def install(self) -> None:
        """Stand between MiniStack's services and its judge, if it judges at all."""
        if app.AUTH:
            iam_evaluator.enforce = self.enforce
            iam_actions.extract_resource_arn = self.resource
            # This computer's own network stands for TLS; the bucket policies refuse calls without it.
            app.pin_request_origin = lambda source_ip, _: iam_evaluator.pin_request_origin(source_ip, True)

    def resource(self, *request: Any) -> str:
        """Return what a call is about as MiniStack does, and remember the call for `enforce`."""
        _REQUEST.set((request[4] or b"", request[5] or {}))
        return str(self._resource(*request))

    def enforce(
        self,
        access_key_id: str,
        iam_action: str,
        service: str,
        region: str,
        resource_arn: str = "*",
        service_context: dict[str, Any] | None = None,
    ) -> Any:
        """Judge every check of a call; returns the first refusal. A person's calls, who is root here, are not kept."""
        asked = Check(iam_action, resource_arn, service_context or {})
        session = sts._sessions.get(access_key_id)
        checks = [asked] if session is None else self._authorization.checks(asked, *_REQUEST.get())
        # An instance's calls pass the network's S3 endpoint, which names the network.
        network = (session or {}).get("Network", {})
        for check in (replace(check, context={**check.context, **network}) for check in checks):
            denied = self._enforce(access_key_id, check.action, service, region, check.resource, check.context)
            if session is not None:
                self._keep(str(session["Arn"]), check, denied)
            if denied is not None:
                return denied
        return None

    def _keep(self, principal: str, check: Check, denied: Any) -> None:
        context = {key: value for key, value in check.context.items() if value not in (None, [], "")}
        judged = {"principal": principal, "action": check.action, "resource": check.resource, "context": context}
        line = json.dumps({**judged, "allowed": denied is None, "why": str(denied or "")}, default=str)
        with self._lock, self._path.open("a") as file:
            file.write(line + "\n")


def instance_credentials(record: Mapping[str, Any]) -> dict[str, str]:
    """Return the variables of a session of an instance's role; none when IAM is not enforced or it has no role.

    On AWS they come from the metadata service, and the session is named after the instance:
    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/iam-roles-for-amazon-ec2.html
    """
    role = role_of_profile(record.get("IamInstanceProfile") or {}) if app.AUTH else ""
    if not role:
        return {}
    instance_id = record["InstanceId"]
    key, secret, token = f"ASIA{secrets.token_hex(8).upper()}", secrets.token_hex(20), secrets.token_hex(32)
    arn = f"arn:aws:sts::{responses.get_account_id()}:assumed-role/{role}/{instance_id}"
    session: dict[str, Any] = {
        "Arn": arn,
        "UserId": f"{iam._roles[role]['RoleId']}:{instance_id}",
        "SecretAccessKey": secret,
        "SessionToken": token,
    }
    session["Network"] = {"aws:SourceVpc": record.get("VpcId", "")}
    sts.register_session(key, session)
    return {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret, "AWS_SESSION_TOKEN": token}
