#!/bin/bash
# Launch template user data: reports the first state, fetches the code, starts the supervisor. Runs as root at boot.
# The @@NAMES@@ are filled in when the stack is built. Nothing here depends on the time of the launch, so that a
# repeated launch call with the same client token is the same call.
set -Eeuo pipefail

CODE_URL='@@CODE_URL@@'
BUCKET='@@BUCKET@@'
ROLE_ID='@@ROLE_ID@@'
export AWS_DEFAULT_REGION='@@REGION@@'
export AWS_SDK_UA_APP_ID=instance # in the user agent of its calls, which CloudTrail keeps
export AWS_RETRY_MODE=standard AWS_MAX_ATTEMPTS=10 # a minute of patience with a network that comes and goes
ROOT="${CHRONOS_ROOT:-}"
HOME_DIR="$ROOT/opt/chronos"
STATE_DIR="$HOME_DIR/state"
LOG_DIR="$ROOT/var/log/chronos"
CODE_DIR="$HOME_DIR/code"
IMDS="${AWS_EC2_METADATA_SERVICE_ENDPOINT:-http://169.254.169.254}"
IMDS="${IMDS%/}"
DEFAULT_MAX_MINUTES=180
BEAT_SECONDS=5
LOG_BYTES=5000000
AN_INSTANCE='i-[0-9a-f]{8,17}'
RUN_ID='' ATTEMPT='' FOLDER='' INSTANCE_ID='' BEAT_PID='' FAILURE='the bootstrap ended early'

now() { date -u +%Y-%m-%dT%H:%M:%S.%3NZ; }
moment() { echo "$(now) $1" | tee -a "$STATE_DIR/timeline"; }

imds() { # a path below meta-data
  curl -sf -m 2 --retry 4 --retry-connrefused --retry-delay 1 \
    -H "X-aws-ec2-metadata-token: $TOKEN" "$IMDS/latest/meta-data/$1"
}

say() { # what the next heartbeat says; plain characters only, since it goes into JSON
  tr -cd 'A-Za-z0-9 .,:;/_=()-' <<<"$1" | head -c 300 >"$STATE_DIR/message"
}

put() { aws s3api put-object --bucket "$BUCKET" --key "$FOLDER$1" --body "$2" --cli-connect-timeout 10 >/dev/null; }

write_state() { # status, error as JSON
  local seq=0
  [[ -s "$STATE_DIR/seq" ]] && seq=$(<"$STATE_DIR/seq")
  echo $((seq + 1)) >"$STATE_DIR/seq"
  cat >"$STATE_DIR/system-state.json" <<JSON
{"schema_version": 1, "run_id": "$RUN_ID", "attempt": $ATTEMPT, "instance_id": "$INSTANCE_ID", "seq": $((seq + 1)),
 "status": "$1", "phase": "boot", "progress": null, "message": "$(<"$STATE_DIR/message")",
 "started_at": "$(<"$STATE_DIR/started_at")", "heartbeat_at": "$(now)", "error": $2}
JSON
  put system-state.json "$STATE_DIR/system-state.json"
}

start_beating() { # only this background loop writes states until stop_beating, so that they stay in order
  (
    trap 'exit 0' TERM
    trap - ERR EXIT
    while :; do
      sleep "$BEAT_SECONDS" >/dev/null 2>&1 & # holds no log open when this loop ends before it
      wait "$!"
      write_state booting null || true
    done
  ) &
  BEAT_PID=$!
}

stop_beating() {
  [[ -n "$BEAT_PID" ]] || return 0
  kill "$BEAT_PID" 2>/dev/null || true
  wait "$BEAT_PID" 2>/dev/null || true
  BEAT_PID=''
}

upload_logs() {
  local log
  for log in "$LOG_DIR/bootstrap.log" "$LOG_DIR/training.log" "$ROOT/var/log/cloud-init-output.log"; do
    [[ -s "$log" ]] || continue
    tail -c "$LOG_BYTES" "$log" >"$STATE_DIR/tail" && put "logs/${log##*/}" "$STATE_DIR/tail" || true
  done
}

report_failure() { # a state the supervisor could not deliver goes first; else the boot failed
  if [[ -s "$STATE_DIR/terminal.json" ]]; then
    put system-state.json "$STATE_DIR/terminal.json" || true
  else
    say "$FAILURE"
    write_state failed "{\"code\": \"BootFailed\", \"message\": \"$(<"$STATE_DIR/message")\"}" || true
  fi
}

leave() { # whatever happened: the logs, a terminal state, and the machine is switched off
  trap '' ERR TERM INT HUP
  set +e
  stop_beating
  export AWS_MAX_ATTEMPTS=3 # a machine without a network is to be off soon
  if [[ ! -e "$STATE_DIR/terminal" && -n "$FOLDER" ]]; then
    echo "$(now) $FAILURE"
    sleep 0.2 # tee writes the log on its own time
    upload_logs
    report_failure
  fi
  shutdown -P now
}

mkdir -p "$STATE_DIR" "$LOG_DIR" "$CODE_DIR"
trap leave EXIT
trap 'FAILURE="line $LINENO: $BASH_COMMAND ended with exit code $?"' ERR
trap 'FAILURE="the machine was told to shut down"; exit 1' TERM INT HUP
exec > >(tee -a "$LOG_DIR/bootstrap.log") 2>&1
[[ -s "$STATE_DIR/started_at" ]] || now >"$STATE_DIR/started_at"
: >"$STATE_DIR/message"
moment bootstrap

# The last net first: this machine ends even if nothing below works and nobody ever hears of it.
TOKEN=$(curl -sf -m 2 --retry 4 --retry-connrefused --retry-delay 1 -X PUT \
  -H 'X-aws-ec2-metadata-token-ttl-seconds: 21600' "$IMDS/latest/api/token") || TOKEN=''
MAX_MINUTES=$(imds tags/instance/MaxMinutes) || MAX_MINUTES=$DEFAULT_MAX_MINUTES
[[ "$MAX_MINUTES" =~ ^[1-9][0-9]{0,3}$ ]] || MAX_MINUTES=$DEFAULT_MAX_MINUTES
shutdown -P "+$MAX_MINUTES"
moment shutdown-armed

RUN_ID=$(imds tags/instance/RunId)
ATTEMPT=$(imds tags/instance/Attempt)
INSTANCE_ID=$(imds instance-id)
RUN_PREFIX=$(imds tags/instance/RunPrefix)
[[ "$RUN_ID" =~ ^[0-9]{8}-[0-9]{6}(-[0-9]{1,12})?$ && "$ATTEMPT" =~ ^[1-5]$ &&
  "$INSTANCE_ID" =~ ^$AN_INSTANCE$ && "$RUN_PREFIX" =~ ^phase1/[0-9/-]+/$ ]]
FOLDER="${RUN_PREFIX}machines/$ROLE_ID:$INSTANCE_ID/" # the machine's own: its role may write nowhere else in a run
say 'The machine is up.'
write_state booting null
moment first-state

INSTANCE_TYPE=$(imds instance-type)
LIFE_CYCLE=$(imds instance-life-cycle) || LIFE_CYCLE=on-demand
MARKET=on_demand
[[ "$LIFE_CYCLE" == spot ]] && MARKET=spot
EARLIER=$(imds tags/instance/EarlierInstances) || EARLIER=''
[[ "$EARLIER" =~ ^$AN_INSTANCE(' '$AN_INSTANCE)*$ ]] || EARLIER='' # without it work is only repeated
start_beating

say 'Fetching the code.'
aws s3 cp --only-show-errors "$CODE_URL" "$HOME_DIR/code.zip"
python3 -m zipfile -e "$HOME_DIR/code.zip" "$CODE_DIR"
moment code

cd "$CODE_DIR"
source instance/environment.sh
moment environment

say 'Starting the supervisor.'
stop_beating
FAILURE='the supervisor ended without a report'
"$HOME_DIR/env/bin/python" -m instance.main --bucket "$BUCKET" --prefix "$RUN_PREFIX" --run-id "$RUN_ID" \
  --attempt "$ATTEMPT" --role-id "$ROLE_ID" --instance-id "$INSTANCE_ID" --earlier-instances "$EARLIER" \
  --instance-type "$INSTANCE_TYPE" --market "$MARKET" --work-dir "$HOME_DIR" --log-dir "$LOG_DIR" &
SUPERVISOR_PID=$!
trap 'kill "$SUPERVISOR_PID" 2>/dev/null' TERM INT HUP
until wait "$SUPERVISOR_PID" || ! kill -0 "$SUPERVISOR_PID" 2>/dev/null; do :; done
