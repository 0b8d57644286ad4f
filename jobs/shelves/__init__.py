"""Step 8, the top N of every shopper with reasons, fallback shelves and exploration pools.

Reads `marts/candidates`, `features/` and `artifacts/`. Writes `marts/top_n`, `marts/fallback`, `marts/exploration`.
Next: `jobs.checks`.
"""
