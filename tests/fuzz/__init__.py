"""Fuzzing: `python -m tests.fuzz` says how."""
