"""Step 10, a night becomes a snapshot in a store, passes its gates, and goes live.

Reads `marts/`, `features/` and `artifacts/cf`. Writes a store and the archive. Next: `serving` reads the store.
"""
