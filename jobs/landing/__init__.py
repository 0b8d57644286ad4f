"""Step 1, what the shop drops: folders of a day, their files, rows and column types.

Reads `landing/`. Writes it only for erasures. Next: `jobs.staging`.
"""
