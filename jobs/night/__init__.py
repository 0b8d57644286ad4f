"""The night: its stages in order, the run of them, its identity, progress and gauges.

Reads and writes what its stages do. `stages.py` is the list, top to bottom.
"""
