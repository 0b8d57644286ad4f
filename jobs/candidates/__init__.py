"""Step 5: many sources list items for every shopper; fusion keeps those that are worth ranking.

Reads `features/` and `artifacts/`. Writes `marts/candidates`. Next: `jobs.ranking` scores them.
"""
