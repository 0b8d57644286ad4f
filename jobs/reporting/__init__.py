"""The page of a night.

Reads `marts/`, the ranker's manifest and the store. Writes `marts/evaluation/ds=DAY/report.html`.
"""
