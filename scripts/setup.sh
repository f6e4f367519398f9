#!/usr/bin/env bash
# Install one half of the toolchain, `python` or `node`, into the repository. Called by make.
set -euo pipefail
cd "$(dirname "$0")/.."

log() { mkdir -p build; echo "build/setup-$1.log"; }

fail() {
  echo "setup: $1" >&2
  exit 1
}

# Debian and Ubuntu packages are installed when the command is missing and we may install.
need() {
  local command=$1 package=$2
  command -v "$command" >/dev/null 2>&1 && "$command" --version >/dev/null 2>&1 && return
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 || fail "$command is missing. Install it (Debian: apt-get install $package) and try again."
  echo "setup: installing $package"
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $package; } >"$(log apt)" 2>&1 || fail "could not install $package, see $(log apt)"
}

quietly() {
  local name=$1 begun=$SECONDS
  shift
  "$@" >"$(log "$name")" 2>&1 || { tail -n 20 "$(log "$name")" >&2; fail "$name failed, see $(log "$name")"; }
  echo "setup: $name ready after $((SECONDS - begun)) s"
}

install_python() {
  need python3.11 "python3.11 python3.11-venv"
  echo "setup: Python packages into .venv (about 2 GB, most of it PyTorch; a few minutes the first time)"
  [ -x .venv/bin/python ] || python3.11 -m venv .venv || { need false python3.11-venv; python3.11 -m venv .venv; }
  quietly python .venv/bin/python -m pip install --disable-pip-version-check --progress-bar off -r requirements.lock
  touch .venv/.ready
}

install_node() {
  need node "nodejs npm"
  need npm npm
  quietly node npm ci --no-audit --no-fund --loglevel=error
  touch node_modules/.ready
}

case "${1:-}" in
  python) install_python ;;
  node) install_node ;;
  *) fail "expected python or node, found '${1:-}'" ;;
esac
