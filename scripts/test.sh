#!/usr/bin/env bash
# Every check that runs on this machine, the cheap ones first. Called by make test.
set -euo pipefail
cd "$(dirname "$0")/.."
begun=$SECONDS

step() { printf '\n== %s (%d:%02d)\n' "$1" $(((SECONDS - begun) / 60)) $(((SECONDS - begun) % 60)); }

step "1/3 lint and types"
ruff check --quiet .
ruff format --check --quiet .
mypy --no-error-summary
echo "clean"

step "2/3 units, template, state machine, models, documents: no cloud"
pytest -q -n 2 -m "not emulator and not gpu" --timeout 300

# By file, since the tests of a file share an embedded cloud; pytest 9.2 takes the groups of xdist no more.
step "3/3 the embedded cloud and whole runs on it (the waits are the runs' own timeouts)"
pytest -q -n 3 --dist loadfile -m "emulator and not gpu" --timeout 900

step "all passed"
echo "Left out: what needs a CUDA device (marker gpu) and a real AWS account."
