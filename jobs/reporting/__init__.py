"""The page of a night.

Reads `marts/`, the ranker's manifest and the store. Writes `runs/ds=DAY/report.html`.
"""
