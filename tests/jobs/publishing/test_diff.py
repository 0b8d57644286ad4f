from jobs.publishing.diff import difference
from jobs.publishing.publish import publish
from serving.stores.protocols import Store
from tests.serving.small_shop import night, version

D1, D2 = "2026-01-01", "2026-01-02"


def test_a_difference_counts_users_items_overlap_and_drift(store: Store) -> None:
    newcomers = [("new", "DE", None, None)]
    publish(night(D1, n_users=59, n_items=100, newcomers=newcomers), store)
    publish(night(D2, n_users=49, n_items=90, newcomers=newcomers), store)
    same = difference(store, version(D1), version(D1))
    assert (same.users_changed, same.overlap_at_10, same.overlap_at_n, same.mean_score_drift) == (0, 1.0, 1.0, 0.0)
    found = difference(store, version(D1), version(D2))
    assert (found.users_of_both, found.users_removed, found.users_added) == (50, 10, 0)
    assert (found.items_added, found.items_removed) == (0, 10)
    assert found.users_changed == 49  # a newcomer still is none
    assert 0 < found.overlap_at_10 < 1
    assert found.mean_score_drift > 0
