"""Step 9, every table against its contract.

Reads all tables of a day. Writes `marts/validation`. Next: `jobs.publishing`, if no check failed.
"""
