#!/usr/bin/env bash
# Resolve pyproject.toml's groups into requirements.lock: one set of versions, hashes, no index address; and what the
# optional group towers needs beyond it into requirements-towers.lock.
set -euo pipefail
cd "$(dirname "$0")/.."
compile() {
  .venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
    --no-annotate "$@" pyproject.toml
}
compile --group serving --group jobs --group airflow --group dev --output-file requirements.lock
compile --group towers --constraint requirements.lock --no-emit-package numpy --no-emit-package scipy \
  --output-file requirements-towers.lock
