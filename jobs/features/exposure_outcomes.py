"""Which exposures count, and within what time an event still follows from one."""

PLACES = 20
"""Only exposures in this many places from the top of a shelf count: few shoppers look further down."""
FOLLOW_MINUTES = 30
"""An event that names no request follows from an exposure less than this long before."""
