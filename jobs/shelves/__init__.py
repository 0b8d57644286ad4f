"""Step 8, make shelves: each shopper's top N with reasons, fallback shelves and exploration pools.

Reads `marts/candidates`, `features/` and `artifacts/`. Writes `marts/top_n`, `marts/fallback`, `marts/exploration`.
Next: `jobs.checks`.
"""
