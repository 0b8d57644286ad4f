"""Streams: topics of Kafka become lines of the same logs that `POST /events` and `POST /items` fill.

topic ─► consumer ─► messages (envelopes) ─► log of events or of item changes ─► every worker, and the lander
                          └────────────────► dead letters, with the reason
"""
