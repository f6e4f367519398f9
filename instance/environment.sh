# Brings the Python environment to $HOME_DIR/env: from the machine image, from the bucket, or from the package index.
# Sourced by user_data.sh in the code folder, with its functions and its error handling. Runs at boot.

ENVIRONMENT="$HOME_DIR/env"
LOCK=instance/requirements.lock
LOCK_HASH=$(sha256sum "$LOCK" | cut -d ' ' -f 1)
CACHE_URL="s3://$BUCKET/cached-datasets/python-env/$LOCK_HASH.tar.gz"
PACKED="$HOME_DIR/env.tar.gz"

interpreter_there() { "$ENVIRONMENT/bin/python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; }

install_interpreter() {
  command -v python3.11 >/dev/null || dnf install -y -q python3.11
}

restore_environment() { # fails when there is no packed environment, or one that is not what its checksum says
  aws s3 cp --only-show-errors "$CACHE_URL.sha256" "$PACKED.sha256" &&
    aws s3 cp --only-show-errors "$CACHE_URL" "$PACKED" &&
    [[ "$(sha256sum "$PACKED" | cut -d ' ' -f 1)" == "$(head -c 64 "$PACKED.sha256")" ]] &&
    tar -xzf "$PACKED" -C "$HOME_DIR" &&
    interpreter_there
}

build_environment() {
  rm -rf "$ENVIRONMENT"
  python3.11 -m venv "$ENVIRONMENT"
  "$ENVIRONMENT/bin/python" -m pip install --quiet --disable-pip-version-check --no-input -r "$LOCK"
}

keep_environment() { # the checksum last: an archive without one does not count
  tar -C "$HOME_DIR" -cf - env | gzip -1 >"$PACKED" &&
    sha256sum "$PACKED" | cut -d ' ' -f 1 >"$PACKED.sha256" &&
    aws s3 cp --only-show-errors "$PACKED" "$CACHE_URL" &&
    aws s3 cp --only-show-errors "$PACKED.sha256" "$CACHE_URL.sha256"
}

if [[ -x "$ENVIRONMENT/bin/python" ]]; then
  moment environment-on-image
else
  install_interpreter
  say 'Looking for a packed Python environment.'
  if restore_environment; then
    moment environment-restored
  else
    say 'Installing the Python packages.'
    build_environment
    moment environment-installed
    say 'Packing the Python environment for the next run.'
    # The run is worth more than the cache.
    keep_environment || echo "The environment could not be kept at $CACHE_URL; the next run installs it again."
    moment environment-kept
  fi
  rm -f "$PACKED" "$PACKED.sha256"
fi
