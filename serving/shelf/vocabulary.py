"""What answers say of an item: sources and reasons of records, and those that only shelves of pages have.

Records hold the codes of `serving.snapshot.record.layout` in four bits. Codes beyond theirs are never stored: answers
and exposures hold names.
"""

from serving.snapshot.record import REASON_CODES, SOURCES

_LISTS = ("bought_together", "also_viewed", "alternative", "most_viewed", "on_sale")
ANSWER_SOURCES = (*SOURCES, *_LISTS, "best_sellers", "own_list")
ANSWER_REASONS = (*REASON_CODES, *_LISTS, "best_seller")
SOURCE = {name: code for code, name in enumerate(ANSWER_SOURCES)}
REASON = {name: code for code, name in enumerate(ANSWER_REASONS)}
