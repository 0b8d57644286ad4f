#!/usr/bin/env bash
# Make .venv from requirements.lock, with uv, and put `topshelf` into it. Does nothing when it is up to date.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
"$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
  || { echo "setup: $("$python" --version) is not 3.11 to 3.13; name one with PYTHON=python3.12 make setup" >&2; exit 1; }
stamp=$(cat requirements.lock requirements-towers.lock pyproject.toml infra/setup.sh | sha256sum | cut -d' ' -f1)
if [ "$(cat .venv/.topshelf-setup 2>/dev/null)" = "$stamp" ]; then exit 0; fi
echo "setup: installing into .venv (about 1.6 GB, once)"
[ -x .venv/bin/python ] || "$python" -m venv .venv
[ -x .venv/bin/uv ] || .venv/bin/python -m pip install --quiet --disable-pip-version-check 'uv>=0.8'
locks=(requirements.lock)
# The optional group stays where it was installed.
if .venv/bin/python -c 'import jax' 2>/dev/null; then locks+=(requirements-towers.lock); fi
# Compiled here: where modules may not be written beside their source, every start would compile a thousand of them.
.venv/bin/uv pip sync --require-hashes --compile-bytecode --python .venv/bin/python --quiet "${locks[@]}"
.venv/bin/python -m pip --version >/dev/null 2>&1 || true
.venv/bin/uv pip install --python .venv/bin/python --quiet --no-deps --no-build-isolation --editable .
printf '%s' "$stamp" > .venv/.topshelf-setup
