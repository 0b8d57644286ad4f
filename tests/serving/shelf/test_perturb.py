"""Perturbed places: propensities are exactly how often an item stands where it does."""

from collections import Counter

import pytest

from serving.shelf.filled_shelf import EXPLORED, RANKED, FilledShelf
from serving.shelf.perturb import MOST_PLACES, is_perturbed, orderings, own_places, perturb


def shelf(slots: list[int]) -> FilledShelf:
    count = len(slots)
    numbers = list(range(count))
    return FilledShelf(
        positions=numbers[:],
        scores=[1.0 - number / 100 for number in numbers],
        sources=numbers[:],
        reasons=numbers[:],
        reason_positions=numbers[:],
        levels=numbers[:],
        slots=slots,
        propensities=[0.5 if slot == EXPLORED else 1.0 for slot in slots],
        eligible=numbers[:],
    )


KEYS = [number.to_bytes(4, "little") + b"perturb-me" + bytes(2) for number in range(20_000)]  # all are perturbed


@pytest.mark.parametrize("slots", [[RANKED] * 5, [RANKED, RANKED, EXPLORED, RANKED, RANKED], [RANKED], []])
def test_an_item_stands_where_it_does_as_often_as_its_propensity_says(slots: list[int]) -> None:
    seen: Counter[tuple[int, int]] = Counter()
    told: dict[tuple[int, int], float] = {}
    for key in KEYS:
        filled = shelf(slots[:])
        perturb(filled, 1.0, b"secret", key)
        for place, item in enumerate(filled.positions):
            seen[place, item] += 1
            told[place, item] = filled.propensities[place]
    for (place, item), count in seen.items():
        if slots[place] == RANKED:
            assert count / len(KEYS) == pytest.approx(told[place, item], abs=0.015), (place, item)
        else:
            assert told[place, item] == 0.5 and place == item, "an exploring place stays as it is"


def test_an_item_moves_with_all_that_belongs_to_it() -> None:
    moved = 0
    for key in KEYS[:200]:
        filled = shelf([RANKED] * 6)
        perturb(filled, 1.0, b"secret", key)
        moved += filled.positions != list(range(6))
        for column in (filled.sources, filled.reasons, filled.reason_positions, filled.levels, filled.eligible):
            assert column == filled.positions
        assert filled.scores == [1.0 - item / 100 for item in filled.positions]
        assert sorted(filled.positions) == list(range(6))
    assert moved > 100


def test_an_answer_that_is_not_perturbed_says_how_likely_it_was_to_be_so() -> None:
    filled = shelf([RANKED] * 4)
    perturb(filled, 0.01, b"secret", b"\xff" * 16)
    assert filled.positions == [0, 1, 2, 3]
    shares = orderings(4).shares
    assert filled.propensities == [0.99 + 0.01 * shares[rank][rank] for rank in range(4)] == list(own_places(4, 0.01))


def test_the_head_moves_least_and_long_answers_only_at_their_head() -> None:
    shares = orderings(20).shares
    assert shares[0][0] > shares[2][2] > shares[9][9] > 0
    assert all(abs(sum(row) - 1) < 1e-9 for row in shares)
    long = shelf([RANKED] * (MOST_PLACES + 20))
    perturb(long, 1.0, b"secret", KEYS[0])
    assert long.positions[MOST_PLACES:] == list(range(MOST_PLACES, MOST_PLACES + 20))
    assert long.propensities[MOST_PLACES:] == [1.0] * 20
    assert sorted(long.positions) == list(range(MOST_PLACES + 20)) != long.positions


def test_about_the_share_of_answers_is_perturbed() -> None:
    keys = [(number * 2_654_435_761 % (1 << 32)).to_bytes(16, "big") for number in range(50_000)]
    assert sum(is_perturbed(key, 0.01) for key in keys) == pytest.approx(500, rel=0.1)
    assert not any(is_perturbed(key, 0.0) for key in keys) and all(is_perturbed(key, 1.0) for key in keys)
