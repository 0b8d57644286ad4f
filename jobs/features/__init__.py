"""Step 3, staging to features of items, shoppers and pairs, and the same as arrays.

Reads `staging/`. Writes `features/`. Next: `jobs.models`.
"""
