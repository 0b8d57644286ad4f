"""Append logs of events, item changes, erasures and exposures, and the process that lands them.

Reads what `serving.api` takes and answers. Writes logs in the state folder or Redis, then `landing/`.
Next: the night reads `landing/`.
"""
