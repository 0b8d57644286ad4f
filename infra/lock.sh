#!/usr/bin/env bash
# Resolve pyproject.toml's groups into requirements.lock: one set of versions, hashes, no index address; and what each
# optional group needs beyond it into a lock of its own.
set -euo pipefail
cd "$(dirname "$0")/.."
compile() {
  .venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
    --no-annotate "$@" pyproject.toml
}
compile --group serving --group jobs --group airflow --group dev --output-file requirements.lock
# What requirements.lock installs on every platform.
there=$(sed -nE 's/^([A-Za-z0-9._-]+)==[^ ]+( ; python_full_version[^s]*)? \\$/--no-emit-package \1/p' requirements.lock)
# shellcheck disable=SC2086  # a word an option
for group in towers airflow-kubernetes airflow-aws; do
  compile --group "$group" --constraint requirements.lock --output-file "requirements-$group.lock" $there
done
known=(narwhals numpy packaging pandas pyarrow python-dateutil pytz scipy six sqlglot typing-extensions tzdata wrapt)
compile --group oracles --constraint requirements.lock "${known[@]/#/--no-emit-package=}" \
  --output-file tests/requirements-oracles.lock
compile --group open-bandit --constraint requirements.lock --no-deps --output-file tests/requirements-open-bandit.lock
compile --group text-vectors --constraint requirements.lock --no-deps --output-file tests/requirements-text-vectors.lock
