"""Experiments: who is in which arm, what a night makes for them, and what came of it.

`jobs.config.experiments` reads the shop's file; `serving.snapshot.experiments` is what a snapshot holds of it.
"""
