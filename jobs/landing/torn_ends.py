"""The torn end of a gzip file: the endpoint is writing it, or ended while it did."""

import gzip
import zlib

from jobs.landing.folders import BLOCK_BYTES, LandedFile, Landing

MEMBER_BEGINS = b"\x1f\x8b\x08\0\0\0\0\0"
"""How each member of a gzip file of the endpoint begins; it writes no time."""
TAIL_BYTES = 1 << 24
"""More than the endpoint's longest member."""
TORN = (EOFError, zlib.error, gzip.BadGzipFile)
"""What reading a torn member raises."""


def is_torn(landing: Landing, file: LandedFile) -> bool:
    """Return whether a gzip file ends within a member: the endpoint is writing it, or ended while it did.

    Only the last TAIL_BYTES are read. A file in which no member begins there is taken for whole.
    """
    with landing.filesystem.open_input_file(file.path) as stream:
        begins = max(0, stream.size() - TAIL_BYTES)
        stream.seek(begins)
        tail = stream.read()
    return (not begins or MEMBER_BEGINS in tail) and torn_bytes(tail) > 0


def torn_bytes(content: bytes) -> int:
    """Return how many bytes at the end of a gzip file belong to a member without an end: 0 if the file is whole."""
    rest = content[max(0, content.rfind(MEMBER_BEGINS)) :]
    while rest:
        member, compressed = zlib.decompressobj(wbits=31), rest
        try:
            while compressed and not member.eof:
                member.decompress(compressed, BLOCK_BYTES)
                compressed = member.unconsumed_tail
        except zlib.error:
            return len(rest)
        if not member.eof:
            return len(rest)
        rest = member.unused_data
    return 0
