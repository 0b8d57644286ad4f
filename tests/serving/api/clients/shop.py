"""A shop's own program with a generated Python client.

python shop.py ADDRESS READ_KEY FEED_KEY
"""

import json
import sys

from topshelf_client import AuthenticatedClient
from topshelf_client.api.default import recommend, recommend_by_body, send_events, send_items, similar_items
from topshelf_client.models import Answer, Body, Event, EventEventType, FeedRow, RowsRefused, SimilarItems, Taken

address, read_key, feed_key = sys.argv[1:]
reader = AuthenticatedClient(address, read_key, raise_on_unexpected_status=True)
feeder = AuthenticatedClient(address, feed_key, raise_on_unexpected_status=True)

shelf = recommend.sync(client=reader, user_id="user-1", limit=5, details=True)
assert isinstance(shelf, Answer)
first, second, *_ = shelf.recommendations

taken = send_items.sync(
    client=feeder, body=[FeedRow(first.item_id, stock=0), FeedRow(second.item_id, price="9999.99")]
)
assert isinstance(taken, Taken)
partly = send_items.sync_detailed(client=feeder, body=[FeedRow(second.item_id, price=None), FeedRow("", stock=1)])
assert isinstance(partly.parsed, Taken)
refused = send_items.sync_detailed(client=feeder, body=[FeedRow("", stock=1)])
assert isinstance(refused.parsed, RowsRefused)
assert isinstance(refused.parsed.refused, list)

event = Event("py-1", second.item_id, EventEventType.VIEW, user_id="user-py", request_id=shelf.request_id, position=1)
seen = send_events.sync(client=feeder, body=[event, Event("py-2", first.item_id, EventEventType.CLICK, "user-py")])
assert isinstance(seen, Taken)
similar = similar_items.sync(second.item_id, client=reader, limit=3)
assert isinstance(similar, SimilarItems)
asked = recommend_by_body.sync(client=reader, body=Body(user_id="user-1", limit=4))
assert isinstance(asked, Answer)

json.dump(
    {
        "shelf": [[row.item_id, row.source, row.reason_code, row.fill_level] for row in shelf.recommendations],
        "taken": taken.accepted,
        "partly": [partly.status_code, partly.parsed.accepted, [row.line for row in partly.parsed.refused]],
        "refused": [refused.status_code, [row.line for row in refused.parsed.refused]],
        "seen": seen.accepted,
        "similar": len(similar.recommendations),
        "asked": len(asked.recommendations),
    },
    sys.stdout,
)
