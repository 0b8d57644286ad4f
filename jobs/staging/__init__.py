"""Step 2, landed rows to staging tables; rows that cannot be used go to quarantine.

Reads `landing/`. Writes `staging/`. Next: `jobs.features`.
"""
