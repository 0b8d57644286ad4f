"""Step 4: models are trained on features: ALS, item-item neighbours, EASE, content vectors, two towers.

Reads `staging/interactions` and `features/`. Writes `artifacts/`. Next: `jobs.candidates`.
"""
