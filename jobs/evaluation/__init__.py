"""How good the shelves were: against later days, against baselines, without each part, against true values.

Reads `staging/`, `marts/` and `artifacts/`. Writes `marts/evaluation`. Next: `jobs.reporting` shows it.
"""
