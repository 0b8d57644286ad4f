"""Step 8, make shelves: each shopper's top N with reasons, their own lists, fallback shelves and exploration pools.

Reads `marts/candidates`, `features/` and `artifacts/`. Writes `marts/top_n`, `marts/shopper_lists`, `marts/fallback`
and `marts/exploration`.
Next: `jobs.checks`.
"""
