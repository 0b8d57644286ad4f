"""Step 3: features of items, shoppers and pairs from staging, and loading them as arrays.

Reads `staging/`. Writes `features/`. Next: `jobs.models`.
"""
