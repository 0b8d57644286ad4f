"""Queries and bodies become a request, or a problem that names the parameter."""

import json
from itertools import permutations
from urllib.parse import urlencode

import pytest

from serving.api.parameters import from_body, from_query
from serving.problems import ProblemError
from serving.shelf.request import ShelfRequest

IDS = ["anna", "view:1,2", "ä b", "%", "a&b=c", "user_id=x"]
NO_PRICES = ["1e999999", "1e400", "-1"]
NO_PRICE_TEXTS = ["sNaN", "-sNaN", "NaN", "Infinity", *NO_PRICES]


@pytest.mark.parametrize("price", [*NO_PRICES, *(f'"{text}"' for text in NO_PRICE_TEXTS)])
@pytest.mark.parametrize("parameter", ["price_min", "price_max"])
def test_a_body_with_a_number_that_is_no_price_is_refused(parameter: str, price: str) -> None:
    with pytest.raises(ProblemError) as refused:
        from_body(f'{{"filters":{{"{parameter}":{price}}}}}'.encode())
    assert (refused.value.status, refused.value.parameter) == (400, parameter)


@pytest.mark.parametrize("price", NO_PRICE_TEXTS)
def test_a_query_with_a_number_that_is_no_price_is_refused(price: str) -> None:
    with pytest.raises(ProblemError) as refused:
        from_query(f"user_id=u&price_max={price}".encode())
    assert (refused.value.status, refused.value.parameter) == (400, "price_max")


@pytest.mark.parametrize("session_id", [None, *IDS])
@pytest.mark.parametrize("user_id", [None, *IDS])
def test_user_and_session_are_read_wherever_they_stand_and_whatever_they_are(
    user_id: str | None, session_id: str | None
) -> None:
    ids = {"user_id": user_id, "session_id": session_id}
    given = {name: value for name, value in ids.items() if value is not None}
    wanted = ShelfRequest(limit=7, page="home", **given)
    for fields in permutations({**given, "limit": "7", "page": "home"}.items()):
        assert from_query(urlencode(fields).encode()) == wanted
    assert from_body(json.dumps({**given, "limit": 7, "context": {"page": "home"}}).encode()) == wanted


@pytest.mark.parametrize("name", ["user_id", "session_id"])
def test_an_id_that_is_empty_too_long_or_given_twice_is_refused(name: str) -> None:
    for query in (f"{name}=", f"{name}={'x' * 257}", f"{name}=a&limit=3&{name}=b", f"{name}=a&{name}=%20"):
        with pytest.raises(ProblemError) as refused:
            from_query(query.encode())
        assert (refused.value.status, refused.value.parameter) == (400, name)
    with pytest.raises(ProblemError) as refused:
        from_body(f'{{"{name}":""}}'.encode())
    assert refused.value.parameter == name


@pytest.mark.parametrize("query", ["page=a&x", "location=a&x", "&x", "limit=3&x"])
def test_a_field_without_a_value_is_no_id(query: str) -> None:
    with pytest.raises(ProblemError) as refused:
        from_query(query.encode())
    assert refused.value.parameter == "x"
