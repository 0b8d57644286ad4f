"""Step 4, features to models: ALS, neighbours, EASE, content vectors, two towers.

Reads `features/`. Writes `artifacts/`. Next: `jobs.candidates`.
"""
