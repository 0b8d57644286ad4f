"""Where tables and artifacts lie: partitions with contracts, manifests and locks, and the registry of their names.

Reads and writes the lake. Every room that builds a table or an artifact does so through it.
"""
