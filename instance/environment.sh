# Brings the Python environment to $HOME_DIR/env: from the machine image, from the bucket, or from the package index.
# Sourced by user_data.sh in the code folder, with its functions and its error handling. Runs at boot.

ENVIRONMENT="$HOME_DIR/env"
LOCK=instance/requirements.lock
LOCK_HASH=$(sha256sum "$LOCK" | cut -d ' ' -f 1)
CACHE_KEY="cached-datasets/python-env/$LOCK_HASH.tar.gz"
PACKED="$HOME_DIR/env.tar.gz"

interpreter_there() { "$ENVIRONMENT/bin/python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; }

install_interpreter() {
  command -v python3.11 >/dev/null || dnf install -y -q python3.11
}

restore_environment() { # fails when there is no packed environment, or one that is not what its checksum says
  local told
  told=$(aws s3api get-object --bucket "$BUCKET" --key "$CACHE_KEY" "$PACKED" --query Metadata.sha256 --output text) &&
    [[ "$(sha256sum "$PACKED" | cut -d ' ' -f 1)" == "$told" ]] &&
    tar -xzf "$PACKED" -C "$HOME_DIR" &&
    interpreter_there
}

build_environment() {
  rm -rf "$ENVIRONMENT"
  python3.11 -m venv "$ENVIRONMENT"
  "$ENVIRONMENT/bin/python" -m pip install --quiet --disable-pip-version-check --no-input -r "$LOCK"
}

# Every later machine runs what is kept here, so it is written once: the machine's role may not replace it.
keep_environment() {
  tar -C "$HOME_DIR" -cf - env | gzip -1 >"$PACKED" &&
    aws s3api put-object --bucket "$BUCKET" --key "$CACHE_KEY" --body "$PACKED" --if-none-match '*' \
      --metadata "sha256=$(sha256sum "$PACKED" | cut -d ' ' -f 1)" >/dev/null
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
    keep_environment || echo "The environment could not be kept. If $CACHE_KEY is damaged, delete it from the bucket."
    moment environment-kept
  fi
  rm -f "$PACKED"
fi
