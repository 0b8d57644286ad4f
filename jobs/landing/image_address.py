"""Which texts are carried as the address of a picture: what an app may put into a page as it is.

An address of http or https, also as `//cdn.example/mug.jpg`, or a path of the shop's own site: `/img/mug.jpg`,
`img/mug.jpg`. Any other scheme is none, as `javascript:…` would run in the shop's pages. Neither is a text with a
character that no address may hold (RFC 3986, 2), such as white space or a quote: it could end the attribute that it
stands in.

>>> image_addresses(pa.array(["https://x/mug.jpg", "javascript:alert(1)"])).to_pylist()
['https://x/mug.jpg', None]
"""

import pyarrow as pa
import pyarrow.compute as pc

_LETTER = r"""[^\x00-\x20\x7f-\x{a0}\x{2028}\x{2029}"<>\\^`{|}]"""  # no address has the others, written or not
_BEFORE_PATH = _LETTER.replace("]", ":/?#]")  # in a relative address, a colon before its path would be a scheme's
_ADDRESS = rf"^(?:(?i:https?)://{_LETTER}+|{_BEFORE_PATH}+|{_BEFORE_PATH}*[/?#]{_LETTER}*)$"


def is_image_address(texts: pa.Array) -> pa.BooleanArray:
    """Return whether each text is such an address; null for null."""
    return pc.match_substring_regex(texts, _ADDRESS)


def image_addresses(texts: pa.Array) -> pa.Array:
    """Return the texts, null where one is no such address."""
    return pc.if_else(is_image_address(texts), texts, None)
