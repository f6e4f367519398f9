"""A machine that boots user_data.sh in a scratch root, with stand-ins for aws, shutdown and python3.11. For pytest."""

import os
import shutil
import subprocess
import zipfile
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from contracts.documents import parse
from tests.instance.samples import BUCKET, INSTANCE_ID, PREFIX, ROLE_ID, RUN_ID

INSTANCE = Path(__file__).parents[2] / "instance"
PLACEHOLDERS = {"CODE_URL": f"s3://{BUCKET}/code.zip", "BUCKET": BUCKET, "ROLE_ID": ROLE_ID, "REGION": "us-east-1"}
TAGS = {"RunId": RUN_ID, "Attempt": "1", "RunPrefix": PREFIX, "MaxMinutes": "140"}
METADATA = {
    "instance-id": INSTANCE_ID,
    "instance-type": "g4dn.2xlarge",
    "instance-life-cycle": "spot",
    **{f"tags/instance/{name}": value for name, value in TAGS.items()},
}

AWS = """#!/bin/bash
# Stands for the AWS CLI: the bucket is a folder, and each state that is put is kept in a list.
path() { [[ "$1" == s3://* ]] && echo "$BUCKET_FOLDER/${1#s3://*/}" || echo "$1"; }
echo "aws $*" >>"$CALLS"
[[ -n "${AWS_BROKEN:-}" && "$*" == *$AWS_BROKEN* ]] && exit 1
if [[ "$1 $2" == 's3api put-object' ]]; then
  [[ "${9:-}" == --if-none-match && -e "$BUCKET_FOLDER/$6" ]] && exit 254
  mkdir -p "$(dirname "$BUCKET_FOLDER/$6")" && cp "$8" "$BUCKET_FOLDER/$6"
  [[ "${11:-}" == --metadata ]] && echo "${12#sha256=}" >"$BUCKET_FOLDER/$6.metadata"
  [[ "$6" == */system-state.json ]] && tr -d '\\n' <"$8" >>"$STATES" && echo >>"$STATES"
  exit 0
fi
if [[ "$1 $2" == 's3api get-object' ]]; then
  cp "$BUCKET_FOLDER/$6" "$7" && cat "$BUCKET_FOLDER/$6.metadata"
  exit
fi
from=$(path "$4") to=$(path "$5")
mkdir -p "$(dirname "$to")" && cp "$from" "$to"
"""
SHUTDOWN = '#!/bin/bash\necho "shutdown $*" >>"$CALLS"\n'
SUPERVISOR = (
    '#!/bin/bash\necho "python $*" >>"$CALLS"\n[[ "$*" == *instance.main* ]] && eval "${SUPERVISE:-:}"\nexit 0\n'
)
PYTHON_3_11 = """#!/bin/bash
# Stands for python3.11 -m venv FOLDER: an environment whose python is the stand-in for the supervisor.
echo "python3.11 $*" >>"$CALLS"
mkdir -p "$3/bin" && cp "$STAND_IN" "$3/bin/python"
"""
TERMINAL = 'touch "$CHRONOS_ROOT/opt/chronos/state/terminal"'


class Imds(BaseHTTPRequestHandler):
    """IMDSv2 with the paths of `server.metadata`; one that holds `BROKEN` is answered with an error of the service."""

    BROKEN = "broken"

    def do_PUT(self) -> None:
        self.answer(200, b"token")

    def do_GET(self) -> None:
        known: dict[str, str] = self.server.metadata  # type: ignore[attr-defined]
        if self.headers["X-aws-ec2-metadata-token"] != "token":
            self.answer(401, b"")
        elif (value := known.get(self.path.removeprefix("/latest/meta-data/"))) is None:
            self.answer(404, b"")
        elif value == self.BROKEN:
            self.answer(500, b"")
        else:
            self.answer(200, value.encode())

    def answer(self, code: int, body: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class Machine:
    """A scratch root, a bucket folder and the stand-ins, and what happened on them."""

    def __init__(self, folder: Path, endpoint: str, metadata: dict[str, str]) -> None:
        self.folder, self.endpoint, self.metadata = folder, endpoint, metadata
        self.root, self.bucket, self.programs = folder / "root", folder / "bucket", folder / "bin"
        self.home = self.root / "opt" / "chronos"
        for path in (self.root, self.bucket, self.programs):
            path.mkdir()
        for name, text in {"aws": AWS, "shutdown": SHUTDOWN, "python3.11": PYTHON_3_11, "stand-in": SUPERVISOR}.items():
            (self.programs / name).write_text(text)
            (self.programs / name).chmod(0o755)
        with zipfile.ZipFile(self.bucket / "code.zip", "w") as archive:
            for name in ("environment.sh", "requirements.lock"):
                archive.write(INSTANCE / name, f"instance/{name}")

    def bring_environment(self) -> None:
        (self.home / "env" / "bin").mkdir(parents=True)
        shutil.copy(self.programs / "stand-in", self.home / "env" / "bin" / "python")

    def boot(self, **variables: str) -> int:
        script = (INSTANCE / "user_data.sh").read_text()
        for name, value in PLACEHOLDERS.items():
            script = script.replace(f"@@{name}@@", value)
        environment = {
            **os.environ,
            "PATH": f"{self.programs}:{os.environ['PATH']}",
            "CHRONOS_ROOT": str(self.root),
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": self.endpoint,
            "BUCKET_FOLDER": str(self.bucket),
            "CALLS": str(self.folder / "calls"),
            "STATES": str(self.folder / "states"),
            "STAND_IN": str(self.programs / "stand-in"),
            **variables,
        }
        done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, timeout=60, check=False)
        return done.returncode

    @property
    def calls(self) -> list[str]:
        return (self.folder / "calls").read_text().splitlines()

    @property
    def states(self) -> list[dict[str, Any]]:
        return [parse("system_state", line) for line in (self.folder / "states").read_text().splitlines()]
