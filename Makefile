.PHONY: setup demo test test-all lint bench
setup: ; @infra/setup.sh
demo: setup ; @.venv/bin/topshelf demo
# A worker a core; a file's tests stay together, as they share what they set up, and long files start first.
workers = -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder
test: setup ; @.venv/bin/python -m pytest $(workers) -m "not slow"
test-all: setup ; @.venv/bin/python -m pytest $(workers) --durations=10
lint: setup ; @.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy && .venv/bin/lint-imports && .venv/bin/sqlfluff lint sql
bench: setup ; @.venv/bin/python -m tests.bench
