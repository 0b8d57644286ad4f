"""Scores as 16-bit codes: sign (1 bit), exponent (6 bits, bias 47), mantissa (9 bits)."""

import numpy as np
from numpy.typing import NDArray

from serving.snapshot.record.layout import RecordError

_EXPONENT_SHIFT = 80 << 9  # float32's exponent of 127 becomes 47


def encode_scores(scores: NDArray[np.floating]) -> NDArray[np.uint16]:
    """Return scores as codes. The relative error is at most 2**-10; magnitudes below 2**-46 become zero.

    Raises RecordError for NaN, infinities and magnitudes of 130,944 and more.
    """
    with np.errstate(over="ignore"):  # an overflow becomes infinite, and is refused below
        bits = scores.astype(np.float32).view(np.uint32)
    magnitude = ((bits & np.uint32(0x7FFFFFFF)) + np.uint32(1 << 13)) >> np.uint32(14)
    code = magnitude.astype(np.int32) - np.int32(_EXPONENT_SHIFT)
    if code.size and code.max() > 0x7FFF:
        worst = float(scores.reshape(-1)[int(code.argmax())])
        raise RecordError(f"score {worst}: a record holds finite scores below 130,944 in magnitude; rescale it")
    code[code < 512] = 0
    sign = ((bits >> np.uint32(16)) & np.uint32(0x8000)).astype(np.uint16)
    return np.where(code == 0, np.uint16(0), code.astype(np.uint16) | sign)


def _score_table() -> NDArray[np.float32]:
    code = np.arange(1 << 16, dtype=np.uint32)
    magnitude = ((code & 0x7FFF) + np.uint32(_EXPONENT_SHIFT)) << np.uint32(14)
    bits = np.where((code & 0x7FFF) < 512, np.uint32(0), magnitude | ((code & 0x8000) << np.uint32(16)))
    return bits.astype(np.uint32).view(np.float32)


SCORE_TABLE = _score_table()  # the value of every code: decoding is one look-up
