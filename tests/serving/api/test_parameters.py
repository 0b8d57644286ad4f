"""Queries and bodies become a request, or a problem that names the parameter."""

import pytest

from serving.api.parameters import from_body, from_query
from serving.problems import ProblemError

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
