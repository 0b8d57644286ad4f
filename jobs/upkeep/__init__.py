"""Once a week: what is past its days is removed, erased shoppers leave landing and lake, the archive is proven.

Reads and writes `landing/`, the lake and the archive.
"""
