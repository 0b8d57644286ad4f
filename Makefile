.PHONY: setup demo test test-all lint bench
setup: ; @infra/setup.sh
demo: setup ; @.venv/bin/topshelf demo
test: setup ; @.venv/bin/python -m pytest -m "not slow"
test-all: setup ; @.venv/bin/python -m pytest --durations=10
lint: setup ; @.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy && .venv/bin/lint-imports && .venv/bin/sqlfluff lint sql
bench: setup ; @.venv/bin/python -m tests.bench
