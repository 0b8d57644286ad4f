"""Which snapshots the gates hold back."""

import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from jobs.publishing.gates import GateLimits
from jobs.publishing.night_contents import NightContents
from jobs.publishing.publish import PublishOutcome, publish
from serving.shelf.snapshot import Snapshot
from serving.stores.protocols import Store
from tests.serving.small_shop import night, version

D1, D2, D3 = "2026-01-01", "2026-01-02", "2026-01-03"


def gates_of(done: PublishOutcome) -> dict[str, str]:
    return {gate.name: gate.outcome for gate in done.manifest.gates}


def test_a_first_snapshot_skips_the_gates_that_compare_and_says_so(store: Store) -> None:
    done = publish(night(D1), store)
    assert done.live
    assert gates_of(done)["users"] == "skipped"
    assert "no snapshot of a day before" in done.manifest.gates[3].reason


@pytest.mark.parametrize(
    ("changes", "gate"),
    [({"n_users": 40}, "users"), ({"n_items": 70}, "items")],
)
def test_a_fall_beyond_the_set_share_is_stored_and_not_promoted(
    store: Store, changes: dict[str, int], gate: str
) -> None:
    publish(night(D1), store)
    done = publish(night(D2, **changes), store)  # type: ignore[arg-type]
    assert gates_of(done)[gate] == "failed"
    assert not done.live
    assert gate in done.reason
    assert store.pointer().live == version(D1)
    assert version(D2) in {m.version for m in store.versions()}


def test_a_snapshot_held_back_is_no_measure_for_the_next_night(store: Store) -> None:
    publish(night(D1), store)
    publish(night(D2, n_users=30), store)
    done = publish(night(D3, n_users=30), store)
    assert gates_of(done)["users"] == "failed"
    assert store.pointer().live == version(D1)


def test_a_worse_evaluation_and_an_overlap_out_of_range_hold_a_snapshot_back(store: Store) -> None:
    publish(night(D1, metrics={"holdout": {"all": {"ndcg@20": 0.3}}}), store)
    worse = night(D2, metrics={"holdout": {"all": {"ndcg@20": 0.2}}})
    limits = GateLimits(overlap_at_10=(0.0, 0.5))
    outcome = gates_of(publish(worse, store, limits=limits))
    assert (outcome["evaluation"], outcome["overlap"]) == ("failed", "failed")  # the same seed: the very same shelves


@pytest.mark.parametrize(
    ("before", "now", "outcome"), [(500, 500, "failed"), (500, 499, "skipped"), (40, 800, "skipped")]
)
def test_a_worse_evaluation_of_a_handful_of_users_holds_nothing_back(
    store: Store, before: int, now: int, outcome: str
) -> None:
    def told(ndcg: float, users: int) -> dict[str, object]:
        return {"holdout": {"all": {"ndcg@20": ndcg}, "n_users": {"all": users}}}

    publish(night(D1, metrics=told(0.3, before)), store)
    done = publish(night(D2, seed=1, metrics=told(0.2, now)), store, limits=GateLimits(overlap_at_10=(0.0, 1.0)))
    assert gates_of(done)["evaluation"] == outcome
    assert done.live == (outcome == "skipped")


def test_newcomers_without_a_shelf_do_not_count_for_the_overlap(store: Store) -> None:
    newcomers = [(f"new-{n}", "DE", None, None) for n in range(200)]
    publish(night(D1, newcomers=newcomers), store)
    done = publish(night(D2, seed=5, newcomers=newcomers), store)
    (overlap,) = (gate for gate in done.manifest.gates if gate.name == "overlap")
    assert overlap.reason.endswith("over 60 users; 2% to 100% is allowed")


def test_a_short_fallback_and_a_record_over_budget_hold_a_snapshot_back(store: Store) -> None:
    done = publish(night(D1), store, limits=GateLimits(min_fallback=60, record_bytes=100))
    assert gates_of(done) | {"fallback": "failed", "record_budget": "failed"} == gates_of(done)
    assert store.pointer().live is None


EMPTY = {
    "no shoppers": lambda day: night(day, n_users=0),
    "sold out": lambda day: sold_out(night(day)),
    "no products": lambda day: without_products(night(day)),
}


def sold_out(of: NightContents) -> NightContents:
    stock = pa.array([0] * len(of.items), pa.int32())
    items = of.items.set_column(of.items.column_names.index("stock"), "stock", stock)
    return replace(of, items=items, fallback=of.fallback.slice(0, 0))


def without_products(of: NightContents) -> NightContents:
    nothing = np.zeros(0, np.int64), np.zeros(0)
    return replace(
        of,
        items=of.items.slice(0, 0),
        fallback=of.fallback.slice(0, 0),
        neighbours=(np.zeros(1, np.int64), *nothing),
        shelves=lambda shard: night().shelves(shard).slice(0, 0),
    )


@pytest.mark.parametrize("lacks", EMPTY)
def test_a_shop_may_open_without_shoppers_stock_or_products_and_stay_so(store: Store, lacks: str) -> None:
    first, second = (publish(EMPTY[lacks](day), store) for day in (D1, D2))
    assert first.live
    assert second.live
    with closing(Snapshot(store.open(version(D2)))) as snapshot:
        assert snapshot.packed("nobody") is None
        assert (snapshot.packed("user-1") is None) == (lacks == "no shoppers")


@pytest.mark.parametrize(
    ("lacks", "gate"), [("no shoppers", "not_empty"), ("sold out", "fallback"), ("no products", "not_empty")]
)
def test_a_shop_that_had_shelves_yesterday_and_has_none_today_is_held_back(
    store: Store, lacks: str, gate: str
) -> None:
    publish(night(D1), store)
    done = publish(EMPTY[lacks](D2), store)
    assert gates_of(done)[gate] == "failed"
    assert store.pointer().live == version(D1)


@pytest.mark.parametrize(("day_before", "now", "live"), [(0, 12, True), (20, 12, True), (20, 9, False)])
def test_the_global_shelf_needs_what_is_on_sale_and_half_of_what_it_had(
    store: Store, day_before: int, now: int, live: bool
) -> None:
    if day_before:
        publish(with_on_sale(night(D1), day_before), store)
    assert publish(with_on_sale(night(D2), now), store).live == live


def with_on_sale(of: NightContents, count: int) -> NightContents:
    """The night with all products sold out but the first `count`, which stand on the global shelf."""
    stock = pa.array([5 if row < count else 0 for row in range(len(of.items))], pa.int32())
    items = of.items.set_column(of.items.column_names.index("stock"), "stock", stock)
    return replace(of, items=items, fallback=of.fallback.slice(0, count))


def test_a_global_shelf_without_products_that_are_on_sale_holds_a_first_snapshot_back(store: Store) -> None:
    done = publish(replace(night(D1), fallback=night(D1).fallback.slice(0, 0)), store)
    assert gates_of(done)["fallback"] == "failed"
    assert not done.live


def test_force_needs_a_reason_and_keeps_it_in_the_manifest(store: Store) -> None:
    publish(night(D1), store)
    assert not publish(night(D2, n_users=30), store).live
    done = publish(night(D2, n_users=30), store, force="the Swiss shop was sold")
    assert done.live
    assert store.versions()[-1].forced == "the Swiss shop was sold"
    assert gates_of(done)["users"] == "failed"


def test_a_forced_publish_without_a_reason_is_refused_on_the_command_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "jobs", "stage", "publish", "--ds", D1, "--lake", str(tmp_path), "--force", " "]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 2
    assert "with a reason" in done.stderr


@pytest.mark.parametrize(("word", "outcome"), [("worse", "failed"), ("better", "passed"), ("cannot tell", "skipped")])
def test_shelves_that_would_have_earned_less_are_held_back(store: Store, word: str, outcome: str) -> None:
    publish(night(D1), store)
    done = publish(night(D2, metrics={"off_policy": {"word": word, "reason": f"{word}: -0.02 a row"}}), store)
    assert gates_of(done)["off_policy"] == outcome
    assert done.live == (word != "worse")
    assert ("off_policy: worse: -0.02 a row" in done.reason) == (word == "worse")
    assert "off_policy" not in gates_of(publish(night(D3), store))
