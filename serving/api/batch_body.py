"""The body of `POST /recommendations/batch`: up to 1,000 users, and what is asked for all of them.

from serving.api.batch_body import read_batch
user_ids, shared = read_batch(b'{"user_ids": ["anna", "ben"], "limit": 4}')
"""

import msgspec

from serving.api.parameters import ShelfBody, shelf_request
from serving.problems import ProblemError
from serving.shelf.request import ShelfRequest
from serving.snapshot.manifest import NOT_JSON

MAX_USERS = 1_000


class BatchBody(ShelfBody, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The JSON body of `POST /recommendations/batch`."""

    user_ids: list[str]


_BODY = msgspec.json.Decoder(BatchBody)


def read_batch(body: bytes) -> tuple[list[str], ShelfRequest]:
    """Parse a body: the users, whose ids are not checked yet, and the request that each of them makes.

    Raises ProblemError (400).
    """
    try:
        fields = _BODY.decode(body)
    except NOT_JSON as error:
        raise ProblemError(400, f"the body is not valid: {error}", "send the JSON that /schema documents") from error
    if not 1 <= len(fields.user_ids) <= MAX_USERS:
        detail = f"user_ids: {len(fields.user_ids)} entries"
        raise ProblemError(400, detail, f"send 1 to {MAX_USERS}, and the others in another batch", "user_ids")
    return fields.user_ids, shelf_request(fields, None)
