"""Step 6, how a candidate is scored: pair features, heads, calibration, the coarse cut, compiled trees.

Reads candidates and `artifacts/ranker`. Writes nothing. Next: `jobs.training` fits it, `jobs.shelves` uses it.
"""
