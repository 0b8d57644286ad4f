"""Which exposures count, and how long what follows them may take."""

PLACES = 20
"""Places of a shelf, from the top, whose exposures count: further down few look."""
FOLLOW_MINUTES = 30
