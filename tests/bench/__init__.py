"""Benches: what the system does, beside what the bare parts under it do in the same run.

    python -m tests.bench [NAME ...] [--out FOLDER]

A bench is a module `bench_<name>.py` whose `main()` returns its figures.
"""
