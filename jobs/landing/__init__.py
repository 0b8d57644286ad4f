"""Step 1, what the shop drops: folders of a day, their files, rows and column types.

Reads `landing/`. Rewrites it only for erasures; `adapters` write it from published data sets. Next: `jobs.staging`.
"""
