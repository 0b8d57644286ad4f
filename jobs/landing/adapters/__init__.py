"""Published data sets turned into landing folders.

Reads the published files. Writes `landing/`. Next: `topshelf nightly`.
"""
