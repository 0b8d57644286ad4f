"""Say what new shelves would have earned on the answers of the last days: off-policy evaluation before publishing.

    topshelf ope --policy 2026-01-31-81d87c735912 --ds 2026-02-07

The endpoint perturbs the ranked places of a few answers by fixed orderings, so each item has a known propensity in
each place (docs/adr/0011). The new shelves would be perturbed alike. Places count each for itself (independent
inverse propensity scores, self-normalised). The estimate is compared with what those answers did earn; outside its
limits of trust, and without a significant difference, it cannot tell.
"""

from collections.abc import Iterable, Sequence
from contextlib import closing
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from jobs.features.exposure_outcomes import FOLLOW_MINUTES, PLACES
from jobs.lake.evaluations import DayRange, OffPolicy
from jobs.lake.lake import Lake
from jobs.lake.tables import EXPOSURES, INTERACTIONS, TOP_N
from jobs.numeric.arrays import Values, Whole
from jobs.publishing.gates import item_ids_of
from jobs.spark.engine import Engine, Rows, engine_for
from jobs.statistics.off_policy import importance_weights, judge, policy_value, trust
from jobs.statistics.slate_policies import self_normalised
from serving.snapshot.experiments import BASE
from serving.snapshot.place_orderings import MOST_PLACES, orderings
from serving.snapshot.record import decode, record_key
from serving.stores import open_store
from serving.stores.protocols import Store

DAYS = 7
"""Days of answers, unless another number is given."""
JUDGED_PLACES = 10
"""Ranked places of an answer that count; answers with fewer are left out."""
MOST_ROWS = 5_000_000
"""Exposures of more than so many are sampled by shopper."""


class OffPolicyError(ValueError):
    """Nothing can be estimated: why, and the remedy."""


def build(lake: Lake, ds: date) -> OffPolicy | None:
    """Estimate the shelves of the night of `ds` on the days up to it, write the record and return it.

    None, and no record, where no answer of an endpoint can be used: where none was logged, or where the shelves that
    it was made from are no longer in the lake.
    """
    days = _days(lake, ds, DAYS)
    nights = [version for version in _versions(lake, days) if is_of_lake(lake, version)]
    found = None
    if nights:
        policy = lake.manifest(TOP_N, ds).fingerprint
        with engine_for(lake.row_count(TOP_N, {_day_of(version) for version in nights})) as engine:
            stored = {f"night_{n}": engine.stored(lake, TOP_N, [_day_of(night)]) for n, night in enumerate(nights)}
            logged = engine.select(
                " UNION ALL ".join(
                    f"SELECT '{night}' AS snapshot, user_id, item_id, rank FROM night_{n} WHERE variant = '{BASE}'"
                    for n, night in enumerate(nights)
                ),
                stored,
            )
            own = f"SELECT user_id, item_id, rank FROM top_n WHERE variant = '{BASE}'"
            shelves = engine.select(own, {"top_n": engine.stored(lake, TOP_N, [ds])})
            found = estimate(engine, lake, days, shelves, logged, policy)
    if found is None:
        OffPolicy.withdraw(lake, ds)
        return None
    found = found.rounded()
    found.write(lake, ds)
    return found


def is_of_lake(lake: Lake, version: str) -> bool:
    """Tell whether the lake still holds the shelves that a snapshot was made from."""
    try:
        ds = _day_of(version)
    except ValueError:  # a shop's own log may name its snapshots as it likes
        return False
    manifest = lake.find_manifest(TOP_N, ds)
    return manifest is not None and version == f"{ds}-{str(manifest.parameters.get('run_id', ''))[:12]}"


def _day_of(version: str) -> date:
    return date.fromisoformat(version[:10])


def estimate_version(lake: Lake, store_url: str, version: str, ds: date, n_days: int) -> OffPolicy:
    """Estimate a stored snapshot's shelves on the `n_days` days up to `ds`. Nothing is written.

    Raises:
        OffPolicyError: the store has no such version, or no answer can be used.
        StoreError: the store failed.
    """
    days = _days(lake, ds, n_days)
    shown_to = [pc.unique(lake.arrow(EXPOSURES, day, ["user_id"])["user_id"]).to_pylist() for day in days]
    users = sorted({user for of_day in shown_to for user in of_day if user})
    with closing(open_store(store_url)) as store:
        versions = [manifest.version for manifest in store.versions()]
        if version not in versions:
            raise OffPolicyError(f"the store has no {version}; it has {', '.join(versions[-5:]) or 'none'}")
        logged = {name: _stored_shelves(store, name, users) for name in _versions(lake, days) if name in versions}
        shelves = _stored_shelves(store, version, users)
    tables = [rows.append_column("snapshot", pa.repeat(name, len(rows))) for name, rows in logged.items()]
    found = None
    if len(shelves) and tables:
        with engine_for(lake.row_count(EXPOSURES, days)) as engine:
            rows = engine.table(shelves), engine.table(pa.concat_tables(tables))
            found = estimate(engine, lake, days, *rows, version)
    if found is None:
        raise OffPolicyError(
            f"no answer of the {n_days} days up to {ds} can be used: they need {JUDGED_PLACES} ranked places, a "
            f"shopper with a shelf in {version}, and a snapshot that the store still has"
        )
    return found


def _stored_shelves(store: Store, version: str, users: Sequence[str]) -> pa.Table:
    """Return the usual shelves of some shoppers, as (user_id, item_id, rank)."""
    with closing(store.open(version)) as snapshot:
        ids = pa.array(list(item_ids_of(snapshot)), pa.string())
        records = snapshot.get_many([record_key(user, BASE) for user in users])
    shelves = [np.empty(0, np.int64) if record is None else decode(record).positions for record in records]
    lengths = [len(shelf) for shelf in shelves]
    return pa.table(
        {
            "user_id": pa.array(users, pa.string()).take(pa.array(np.repeat(np.arange(len(users)), lengths))),
            "item_id": ids.take(pa.array(np.concatenate([np.empty(0, np.int64), *shelves]))),
            "rank": pa.array(np.concatenate([np.empty(0, np.int32), *map(_ranks, lengths)])),
        }
    )


def _ranks(length: int) -> NDArray[np.int32]:
    return np.arange(1, length + 1, dtype=np.int32)


def estimate(
    engine: Engine, lake: Lake, days: Sequence[date], shelves: Rows, logged: Rows, policy: str
) -> OffPolicy | None:
    """Estimate shelves (user_id, item_id, rank) on some days of answers; None where no answer can be used.

    `logged` are the shelves (snapshot, user_id, item_id, rank) that the answers were made from.
    """
    exposures, interactions = (engine.stored(lake, table, days) for table in (EXPOSURES, INTERACTIONS))
    rows = sum(lake.manifest(EXPOSURES, day).row_count or 0 for day in days)
    limits = {"places": PLACES, "follow_minutes": FOLLOW_MINUTES, "window_days": (days[-1] - days[0]).days + 1}
    views = {"exposures": exposures, "interactions": interactions}
    followed = engine.query("marts/followed_exposures", views, {"ds": days[-1], **limits})
    places = engine.query(
        "marts/logged_places",
        {"exposures": exposures, "followed_exposures": followed, "logged_shelves": logged, "shelves": shelves},
        {"every": -(-rows // MOST_ROWS), "places": JUDGED_PLACES},
    )
    return judged(engine.arrow(places), DayRange(days[0], days[-1]), policy)


def judged(places: pa.Table, window: DayRange, policy: str) -> OffPolicy | None:
    """Return the estimate from the rows of `sql/marts/logged_places.sql`; None without enough of them."""
    places = places.filter(pc.greater_equal(places["ranked_count"], JUDGED_PLACES))
    places = places.sort_by([("request_id", "ascending"), ("place", "ascending")])
    shopper = places["user_id"].to_numpy(zero_copy_only=False)[::JUDGED_PLACES].astype(str)
    user = np.unique(shopper, return_inverse=True)[1]
    if len(set(user.tolist())) < 2:
        return None

    def matrix(column: pa.ChunkedArray) -> Values:
        return np.asarray(column.to_numpy(zero_copy_only=False), np.float64).reshape(-1, JUDGED_PLACES)

    count = places["ranked_count"].to_numpy().reshape(-1, JUDGED_PLACES)[:, 0]
    logged, clicked = matrix(places["propensity"]), matrix(places["is_followed"])
    new_rank = matrix(pc.fill_null(places["new_rank"], -1)).astype(np.int64)
    weight = importance_weights(policy_propensity(new_rank, count, perturbed_share(logged, count)), logged)
    trusted = trust(weight, clicked, user)
    difference = policy_value(self_normalised(clicked, weight) - clicked.sum(axis=1), user)
    said = judge(difference, trusted)
    earned = float(clicked.sum(axis=1).mean())
    return OffPolicy(
        policy=policy,
        window=window,
        places=JUDGED_PLACES,
        answers=len(user),
        users=difference.units,
        clicks_an_answer=earned,
        would_be=earned + difference.value,
        low=difference.low,
        high=difference.high,
        effective_sample=trusted.effective_sample,
        mean_weight=trusted.mean_weight,
        word=said.word,
        reasons=list(said.reasons),
    )


def perturbed_share(logged: Values, count: Whole) -> float:
    """Return the share of answers that the endpoint perturbed, as the propensities of first places tell it.

    `logged` is [answers, places] and `count` the ranked places of each answer. Most answers are not perturbed, so the
    middle one has its best item first.
    """
    most = int(np.bincount(np.minimum(count, MOST_PLACES)).argmax())
    stays = orderings(most).shares[0][0]
    middle = float(np.median(logged[np.minimum(count, MOST_PLACES) == most, 0]))
    return (1 - middle) / (1 - stays) if stays < 1 else 0.0


def policy_propensity(new_rank: Whole, count: Whole, share: float) -> Values:
    """Return [answers, places]: how likely the policy puts an item of its rank there.

    `new_rank` [answers, places] is the rank, from 0, of the shown item on the policy's own shelf; -1 for none. Of an
    answer with `count` ranked places, the policy's first `count` items stand in the places, perturbed in a `share`.
    """
    found = np.zeros(new_rank.shape)
    place = np.arange(new_rank.shape[1])
    for of in np.unique(np.minimum(count, MOST_PLACES)).tolist():
        rows = np.flatnonzero(np.minimum(count, MOST_PLACES) == of)
        mixed = share * np.array(orderings(of).shares) + (1 - share) * np.eye(of)
        rank = new_rank[rows]
        stands = (rank >= 0) & (rank < of)
        found[rows] = np.where(stands, mixed[np.where(stands, rank, 0), place], 0.0)
    return found


def _days(lake: Lake, ds: date, n_days: int) -> list[date]:
    """Return those of the last days up to `ds` that were ingested and have exposures, ascending."""
    wanted = [ds - timedelta(days=back) for back in range(n_days)]
    staged = set(lake.days(EXPOSURES)) & set(lake.days(INTERACTIONS))
    return sorted(day for day in wanted if day in staged and lake.manifest(EXPOSURES, day).row_count)


def _versions(lake: Lake, days: Iterable[date]) -> list[str]:
    """Return the snapshots that answered on some days."""
    found = [pc.unique(lake.arrow(EXPOSURES, day, ["snapshot"])["snapshot"]).to_pylist() for day in days]
    return sorted({version for of_day in found for version in of_day if version})
