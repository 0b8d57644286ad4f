"""Step 7, train the ranker on earlier days: windows, labels, examples, heads, and the night's own evaluation.

Reads `staging/`, `features/` and `artifacts/` of earlier days. Writes `marts/examples` and `artifacts/ranker`.
Next: `jobs.shelves`.
"""
