"""The format of a snapshot: records, blobs, manifest, pointer, overlay, tombstones.

Jobs write it and serving reads it. Next: `serving.stores` keep it.
"""
