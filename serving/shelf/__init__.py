"""From a snapshot and the present to the items of an answer.

Reads a snapshot, live item state and last actions. Writes nothing. Next: `serving.api` answers.
"""
