"""The lookup endpoint, the stores and the wire record: what an app server needs, and nothing of the night."""
