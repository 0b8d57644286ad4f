"""HTTP: routes, parameters, keys, rates, answers, metrics.

Reads requests. Writes answers, and what was shown to `serving.logs`.
"""
