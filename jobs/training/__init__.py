"""Step 7, earlier days teach the ranker: windows, labels, examples, heads, and how good they were.

Reads `staging/`, `features/` and `artifacts/` of earlier days. Writes `marts/examples` and `artifacts/ranker`.
Next: `jobs.shelves`.
"""
