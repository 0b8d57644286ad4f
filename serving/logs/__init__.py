"""What comes in and what was shown, on its way to landing.

Reads requests' events, item changes and answers. Writes logs, then `landing/`. Next: the night.
"""
