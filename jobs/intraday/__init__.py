"""Between nights: trends of the last 24 hours and new products, laid over the live snapshot.

Reads `landing/`, the lake and the live snapshot. Writes an overlay into the store. Next: `serving` reads both.
"""
