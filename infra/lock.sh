#!/usr/bin/env bash
# Resolve pyproject.toml's groups into requirements.lock: one set of versions, hashes, no index address.
set -euo pipefail
cd "$(dirname "$0")/.."
.venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
  --no-annotate --group serving --group jobs --group airflow --group dev --output-file requirements.lock pyproject.toml
