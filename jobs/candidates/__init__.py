"""Step 5, items worth ranking for every shopper, from many sources, merged.

Reads `features/` and `artifacts/`. Writes `marts/candidates`. Next: `jobs.ranking` scores them.
"""
