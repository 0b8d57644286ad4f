"""Which snapshots the gates hold back."""

import subprocess
import sys
from pathlib import Path

import pytest

from jobs.publishing.gates import GateLimits
from jobs.publishing.publish import PublishOutcome, publish
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
