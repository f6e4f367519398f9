"""No token and no credential in what a run writes: objects, logs, consoles, user data. Runs with pytest."""

import base64
import re

import pytest

from contracts import layout
from local import processes
from local.state_folder import INSTANCE_MARKER
from tests.e2e.runner import Runner, patiently

pytestmark = [pytest.mark.emulator, pytest.mark.slow]

# What a credential looks like wherever it is: an access key's id, a signed address, a signature, the names beside them.
LOOKS_SECRET = re.compile(
    rb"(AKIA|ASIA)[0-9A-Z]{16}|X-Amz-(Signature|Security-Token|Credential)=|AWS4-HMAC-SHA256|"
    rb"aws_(secret_access_key|session_token)|task_token\W+[A-Za-z0-9+/=]{20}",
    re.IGNORECASE,
)


def _credentials(instance_id: str) -> list[bytes]:
    """Return the secrets that the processes of a living instance hold."""
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    found = set()
    for pid in processes.find(INSTANCE_MARKER, instance_id):
        found |= {v.partition(b"=")[2] for v in processes.environment(pid) if v.decode().startswith(names)}
    return sorted(found)


def _written(runner: Runner, prefix: str, instance_id: str) -> dict[str, bytes]:
    """Return all that a run has written, by where it is."""
    s3, logs = runner.client("s3"), runner.client("logs")
    written = {}
    for key in (prefix, layout.REGISTRY):
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=runner.bucket, Prefix=key):
            for item in page.get("Contents", []):
                got = s3.get_object(Bucket=runner.bucket, Key=item["Key"])
                written[item["Key"]] = got["Body"].read() + repr(got["Metadata"]).encode()
    for group in logs.describe_log_groups()["logGroups"]:
        pages = logs.get_paginator("filter_log_events").paginate(logGroupName=group["logGroupName"])
        text = "\n".join(event["message"] for page in pages for event in page["events"])
        written[group["logGroupName"]] = text.encode()
    for path in (runner.cloud.folder.log, runner.cloud.folder.instance(instance_id) / "console.log"):
        written[str(path)] = path.read_bytes()
    return written


@pytest.mark.parametrize("fails", [False, True])
def test_a_run_writes_no_secret_anywhere(runner: Runner, long_run: dict[str, object], fails: bool) -> None:
    arn = runner.start({**long_run, "max_attempts": 1} if fails else {"dataset": "small", "models": ["AutoETS"]})
    record = patiently(lambda: (r := runner.record_of(arn)) and r.task_token and r.instance_id and r, "a token")
    tokens = {record.task_token.encode()}
    secrets = patiently(lambda: _credentials(record.instance_id), "the machine's processes")
    assert len(secrets) == 3
    if fails:
        tokens.add(runner.training(arn).task_token.encode())
        runner.faults.kill(record.instance_id)
    ended = runner.finish(arn)
    assert ended.record is not None
    runner.assert_nothing_left(ended.record)

    written = _written(runner, record.prefix, record.instance_id)
    assert {record.prefix + layout.MANIFEST, record.prefix + layout.SYSTEM_STATE, layout.REGISTRY} < set(written)
    assert any("AcceptRun" in name and text for name, text in written.items())
    assert all(len(token) > 20 for token in tokens)
    for name, text in [*written.items(), ("cause", ended.cause.encode())]:
        for secret in (*tokens, *secrets):
            assert secret not in text, name
        assert not LOOKS_SECRET.search(text), (name, LOOKS_SECRET.search(text))


def test_user_data_holds_names_only(runner: Runner) -> None:
    ec2 = runner.client("ec2")
    versions = ec2.describe_launch_template_versions(LaunchTemplateId=runner.environment["LAUNCH_TEMPLATE_ID"])
    text = base64.b64decode(versions["LaunchTemplateVersions"][0]["LaunchTemplateData"]["UserData"])

    assert runner.bucket.encode() in text
    assert not LOOKS_SECRET.search(text)
    assert b"@@" not in text.replace(b"@@NAMES@@", b"")
