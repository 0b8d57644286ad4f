"""Which version is live after a publish, and which ones stay."""

import itertools
import threading
from contextlib import closing
from pathlib import Path

import pytest

from jobs.publishing import versions
from jobs.publishing.publish import publish
from serving.snapshot.manifest import StoreError
from serving.stores import open_store
from serving.stores.protocols import Store
from tests.serving.small_shop import night, version

D1, D2, D3, D4 = "2026-01-01", "2026-01-02", "2026-01-03", "2026-01-04"


def test_a_later_day_goes_live_and_an_earlier_one_never_does(store: Store) -> None:
    assert publish(night(D2), store).live
    assert not publish(night(D1), store).live
    assert store.pointer().live == version(D2)
    assert publish(night(D3), store).live


def test_a_failed_night_that_is_backfilled_goes_live(store: Store) -> None:
    publish(night(D1), store)
    assert publish(night(D2), store).live  # D2 failed at first, and is now run by hand


def test_the_same_day_with_other_parameters_waits_for_a_person(store: Store) -> None:
    publish(night(D1, seed=1), store)
    again = publish(night(D1, seed=2), store)
    assert not again.live
    assert "topshelf promote" in again.reason
    versions.promote(store, again.manifest.version)
    assert store.pointer().live == again.manifest.version


def test_after_a_rollback_a_retry_of_the_same_night_does_not_go_live_and_the_next_night_does(store: Store) -> None:
    publish(night(D1), store)
    publish(night(D2), store)
    assert versions.rollback(store).live == version(D1)
    assert not publish(night(D2), store).live
    assert store.pointer().live == version(D1)
    assert publish(night(D3), store).live


def test_rolling_back_without_an_earlier_version_says_what_to_do(store: Store) -> None:
    publish(night(D1), store)
    with pytest.raises(StoreError, match="topshelf snapshots"):
        versions.rollback(store)
    assert store.pointer().live == version(D1)


def test_a_pinned_version_stays_live_while_nights_go_on(store: Store) -> None:
    publish(night(D1), store)
    publish(night(D2), store)
    versions.pin(store, version(D1))
    done = publish(night(D3), store)
    assert not done.live
    assert "topshelf unpin" in done.reason
    assert store.pointer().live == version(D1)
    publish(night(D4), store)
    assert version(D1) in {m.version for m in store.versions()}
    with pytest.raises(StoreError, match="pinned"):
        versions.promote(store, version(D4))
    versions.unpin(store)
    assert publish(night(D4), store).live


@pytest.mark.parametrize("order", list(itertools.permutations((D1, D2, D3))))
def test_of_publishers_racing_the_latest_day_is_live_at_the_end(tmp_path: Path, order: tuple[str, ...]) -> None:
    url = f"lmdb://{tmp_path}/store"
    errors: list[BaseException] = []

    def run(day: str) -> None:
        try:
            with closing(open_store(url)) as mine:
                publish(night(day), mine)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(day,)) for day in order]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with closing(open_store(url)) as store:
        assert store.pointer().live == version(D3)
        assert store.pointer().highest_day == D3
        assert version(D3) in {m.version for m in store.versions()}


def test_retention_keeps_two_and_never_the_live_or_the_one_before(store: Store) -> None:
    for day in (D1, D2, D3, D4):
        publish(night(day), store)
    assert [m.version for m in store.versions()] == [version(D3), version(D4)]
    versions.rollback(store)
    publish(night("2025-12-30"), store)
    publish(night("2025-12-31"), store)
    kept = {m.version for m in store.versions()}
    assert version(D3) in kept  # live
    assert {version("2025-12-30"), version("2025-12-31")} <= kept  # the two newest published
    assert store.pointer().live == version(D3)


def test_what_a_dead_publisher_left_is_removed_by_the_next(store: Store, tmp_path: Path) -> None:
    with store.begin("2026-01-01-dead", 3) as loading:
        loading.write_shard(0, [])
    publish(night(D2), store)
    assert store.unfinished() == []
    assert [path.name for path in (tmp_path / "store" / "loading").iterdir()] == []


def test_a_version_that_is_still_being_loaded_is_not_removed(store: Store, tmp_path: Path) -> None:
    with closing(open_store(store.url)) as other, other.begin("2026-01-01-slow", 3) as loading:
        report = loading.write_shard(0, [])
        publish(night(D2), store)
        assert loading.write_shard(1, []).records == 0
    with store.begin("2026-01-01-slow", 3) as loading:
        assert loading.finished[0] == report
