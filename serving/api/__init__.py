"""The HTTP endpoint: routes, parameters, keys, rates, answers, metrics.

Reads requests and the live snapshot of `serving.shelf`.
Writes responses; item changes, events, erasures and exposures go to `serving.logs`.
"""
