"""Build `artifacts/als_choice`: ALS's rank, confidence weight and regularisation, chosen by the shop's own data.

    topshelf stage choose_als --ds 2026-01-31

A choice is made on a Sunday every four weeks, at or before the night's newest training window. All nights of those
weeks share it, whichever of them ran first, and the labels of that window take no part in it. Values are fitted to
what happened up to one horizon before that Sunday, and judged by what shoppers newly chose within the horizon. In a
shop without such days, values are judged by the latest pairs of each shopper, as of the week's Sunday; every night in
its first week or two, and while most events are younger than that Sunday. Values that a shop sets itself are kept.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from itertools import product

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp
from implicit.als import AlternatingLeastSquares
from threadpoolctl import threadpool_limits

from jobs.config.calendar import choice_day, young_choice_day
from jobs.config.parameters import Parameters
from jobs.features.event_days import event_days, most_came_later
from jobs.features.ratings import low_ratings
from jobs.features.strength import interaction_values
from jobs.lake.lake import Lake
from jobs.lake.manifest import Manifest, digest_of
from jobs.lake.tables import ALS_CHOICE, INTERACTIONS
from jobs.models.als import ALS_UNCHOSEN, AlsValues
from jobs.numeric.arrays import Flags, Whole, coded, pair_keys, rank_in_group, top_columns
from jobs.numeric.draws import below, uniform
from jobs.numeric.list_metrics import K, marked, user_values
from jobs.spark.processes import available_cores, threads

ALPHAS = (1.0, 3.0, 10.0, 30.0, 100.0)
REGULARIZATIONS = (0.01, 1.0, 10.0, 30.0, 100.0)
ROUNDS = ((32, 5, 25), (64, 15, 8), (128, 15, 3), (256, 15, 1))
"""Rounds of successive halving: (factors, iterations, how many pairs of alpha and regularisation take part)."""
ROUNDS_OF_YOUNG = ((32, 5, 25), (128, 10, 3), (256, 10, 1))
"""Those of a shop without earlier days, which chooses every week."""
MOST_EVENTS, MOST_EVENTS_OF_YOUNG = 1_000_000, 200_000
"""Of a larger shop, shoppers are drawn by hash, so that about so many events are left."""
HELD_OUT_SHARE = 5
"""Without earlier days, one pair of a shopper and an item in this many is held out."""
MOST_ITEMS, MOST_USERS = 20_000, 2_000
MOST_AT_ONCE = 4
"""So many trials run at the same time, each on one core, with 0.4 GB of scores."""
FEWEST_USERS = 200
"""Fewer cannot tell values apart: the standard error of recall is then some two points."""
COLUMNS = ("user_id", "item_id", "event_type", "event_date", "value", "ts")


@dataclass(frozen=True)
class HeldOutChoices:
    """What values are judged by."""

    known: sp.csr_matrix
    """[n_users, n_items] strengths of the pairs up to the split."""
    users: Whole
    """Rows of `known` who newly chose something after the split."""
    truth: sp.csr_matrix
    """[len(users), n_items]: what they newly chose."""


class Trial(msgspec.Struct, frozen=True, rename={"recall": f"recall@{K}", "ndcg": f"ndcg@{K}"}):
    """Values that were fitted, and how well their lists found what shoppers newly chose."""

    factors: int
    alpha: float
    regularization: float
    iterations: int
    recall: float
    ndcg: float

    @property
    def values(self) -> AlsValues:
        """The values that were tried."""
        return AlsValues(self.factors, self.alpha, self.regularization)

    @property
    def order(self) -> tuple[float, ...]:
        """Sorts trials best first: by recall, then NDCG, then the cheaper and plainer values."""
        return (-self.recall, -self.ndcg, self.factors, self.alpha, self.regularization)


class AlsChoice(msgspec.Struct, frozen=True, omit_defaults=True):
    """The values that nights use, and what they were chosen by: `choice.json`, and the artifact's metrics."""

    factors: int
    alpha: float
    regularization: float
    chosen: bool
    """False where the shop has too few shoppers: then the values are those of ALS_UNCHOSEN."""
    because: str
    split: str | None = None
    """The last day that was fitted; later days were held out. None where each shopper's latest pairs were."""
    until: str | None = None
    """The last day that was held out."""
    asked: int | None = None
    """Shoppers whose new choices were held out."""
    pairs: int | None = None
    """Pairs of shopper and item that were fitted."""


def up_to(events: pa.Table, split: date) -> Flags:
    """Tell which events happened up to the day `split`."""
    return np.asarray(events["event_date"].to_numpy().astype("datetime64[D]") <= np.datetime64(split, "D"))


def but_the_latest(events: pa.Table, seed: int) -> Flags:
    """Tell which events are not of the latest pairs of their shopper: about one in HELD_OUT_SHARE.

    A pair is as old as its first event. Pairs of one moment are drawn.
    """
    user, item = (coded(events[name])[1] for name in ("user_id", "item_id"))
    n_items = int(item.max(initial=0)) + 1
    at_us = events["ts"].cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_numpy()
    pair, of_event = np.unique(pair_keys(user, item, n_items), return_inverse=True)
    first = np.full(len(pair), np.iinfo(np.int64).max)
    np.minimum.at(first, of_event, at_us)
    owner = pair // n_items
    order = np.lexsort((uniform(seed, "held out", pair), -first, owner))
    count = np.bincount(owner)
    odd = below(HELD_OUT_SHARE, seed, "odd pair", np.arange(len(count)))  # of counts that the share does not divide
    held_out = np.empty(len(pair), dtype=np.bool_)
    held_out[order] = (rank_in_group(owner) + 1) * HELD_OUT_SHARE <= (count + odd)[owner]
    return np.asarray(~held_out[of_event])


def hold_out(events: pa.Table, before: Flags, weight_milli: Mapping[str, int]) -> HeldOutChoices:
    """Hold out what known shoppers newly chose later: purchases, or any positive event in a shop without.

    Args:
        events: COLUMNS of staging/interactions.
        before: the events that are known; the others are later.
        weight_milli: weight of an event by its type, in thousandths; other types weigh nothing, nor do low ratings.
    """
    _, user = coded(events["user_id"])
    _, item = coded(events["item_id"])
    event_type = events["event_type"].cast(pa.string())
    weight = np.zeros(len(event_type), dtype=np.int64)
    for name, type_weight in weight_milli.items():
        weight[pc.equal(event_type, name).to_numpy()] = type_weight
    weight[low_ratings(event_type, events["value"])] = 0
    shape = (int(user.max(initial=-1)) + 1, int(item.max(initial=-1)) + 1)

    def matrix(rows: Flags) -> sp.csr_matrix:
        return sp.coo_matrix((weight[rows], (user[rows], item[rows])), shape=shape).tocsr()

    weights = matrix(before & (weight > 0))
    columns = _most_touched(weights)
    weights = weights[:, columns]
    known = sp.csr_matrix(weights, dtype=np.float32)
    known.data = interaction_values(weights.data)
    bought = pc.equal(event_type, "purchase").to_numpy()
    chosen = bought if bought.any() else weight > 0
    after = marked(matrix(chosen & ~before)[:, columns])
    new = sp.csr_matrix(after - after.multiply(marked(known)))
    new.eliminate_zeros()
    users = np.flatnonzero((np.diff(new.indptr) > 0) & (np.diff(known.indptr) > 0))
    users = users[:: -(-len(users) // MOST_USERS) or 1]
    return HeldOutChoices(known, users, sp.csr_matrix(new[users]))


def _most_touched(pairs: sp.csr_matrix) -> Whole:
    """Return the columns of the MOST_ITEMS items with most shoppers, ascending; items that nobody touched are out."""
    shoppers = np.diff(pairs.tocsc().indptr)
    most = np.argsort(-shoppers, kind="stable")[:MOST_ITEMS]
    return np.sort(most[shoppers[most] > 0])


def attempt(choices: HeldOutChoices, values: AlsValues, iterations: int, seed: int) -> Trial:
    """Fit the values, and return recall and NDCG at K of unseen items; shoppers are folded in as for candidates."""
    model = AlternatingLeastSquares(**asdict(values), iterations=iterations, random_state=seed, num_threads=1)
    model.fit(choices.known, show_progress=False)
    own = choices.known[choices.users]
    scores = model.recalculate_user(choices.users, own) @ model.item_factors.T
    scores[own.nonzero()] = -np.inf
    by_user = user_values(top_columns(scores, K), choices.truth)
    recall, ndcg = (round(float(by_user[f"{name}@{K}"].mean()), 6) for name in ("recall", "ndcg"))
    return Trial(values.factors, values.alpha, values.regularization, iterations, recall, ndcg)


def search(choices: HeldOutChoices, seed: int, rounds: Sequence[tuple[int, int, int]] = ROUNDS) -> list[Trial]:
    """Return the trials of all rounds in their order; the best of a round take part in the next."""
    pairs: Sequence[tuple[float, float]] = list(product(ALPHAS, REGULARIZATIONS))
    trials: list[Trial] = []
    with threadpool_limits(1, "blas"), threads(min(available_cores(), MOST_AT_ONCE)) as pool:
        for factors, iterations, most in rounds:
            values = [AlsValues(factors, alpha, regularization) for alpha, regularization in pairs[:most]]
            in_round = list(pool.map(lambda one, n=iterations: attempt(choices, one, n, seed), values))
            pairs = [(trial.alpha, trial.regularization) for trial in sorted(in_round, key=lambda trial: trial.order)]
            trials += in_round
    return trials


def winner(trials: Sequence[Trial]) -> AlsValues:
    """Return the values of the best trial among those with the most iterations."""
    most = max(trial.iterations for trial in trials)
    return min((trial for trial in trials if trial.iterations == most), key=lambda trial: trial.order).values


def read_events(lake: Lake, days: Sequence[date], until: date, most: int) -> pa.Table:
    """Return COLUMNS of known shoppers' events up to `until`, of so many shoppers as make about `most` events."""
    counts = [lake.manifest(INTERACTIONS, day).row_count or 0 for day in days]
    share = min(1.0, most / max(sum(counts), 1))
    tables = []
    for day in (day for day, row_count in zip(days, counts, strict=True) if row_count):
        rows = lake.arrow(INTERACTIONS, day, COLUMNS)
        rows = rows.filter(pc.and_(pc.is_valid(rows["user_id"]), pc.less_equal(rows["event_date"], pa.scalar(until))))
        if share < 1:
            users = rows["user_id"].cast(pa.string()).to_numpy(zero_copy_only=False)
            rows = rows.filter(pa.array(pd.util.hash_array(users) < share * 2.0**64))
        tables.append(rows)
    types = (pa.string(), pa.string(), pa.string(), pa.date32(), pa.float64(), pa.timestamp("us", "UTC"))
    schema = pa.schema(list(zip(COLUMNS, types, strict=True)))
    return pa.concat_tables([table.cast(schema) for table in tables]) if tables else schema.empty_table()


def choose(
    lake: Lake, days: Sequence[date], day: date, split: date | None, weight_milli: Mapping[str, int], seed: int
) -> tuple[AlsChoice, list[Trial]]:
    """Return the choice as of `day` from staging of `days`, and the trials that it was made by.

    Without a `split`, or with too few shoppers who chose something after it, each shopper's latest pairs are held out
    instead.
    """
    most, rounds = (MOST_EVENTS_OF_YOUNG, ROUNDS_OF_YOUNG) if split is None else (MOST_EVENTS, ROUNDS)
    events = read_events(lake, days, day, most)
    weighing = pa.array([name for name, weight in weight_milli.items() if weight], pa.string())
    events = events.filter(pc.is_in(events["event_type"], value_set=weighing))
    before = but_the_latest(events, seed) if split is None else up_to(events, split)
    choices = hold_out(events, before, weight_milli)
    n_users = len(choices.users)
    if split is not None and n_users < FEWEST_USERS:
        return choose(lake, days, day, None, weight_milli, seed)
    trials = search(choices, seed, rounds) if n_users >= FEWEST_USERS else []
    values = winner(trials) if trials else ALS_UNCHOSEN
    choice = AlsChoice(
        **asdict(values),
        chosen=bool(trials),
        because=f"of {len(trials)} tried, recall was highest"
        if trials
        else f"only {n_users} shoppers can be asked; it takes {FEWEST_USERS}",
        split=str(split) if split else None,
        until=str(day),
        asked=n_users,
        pairs=int(choices.known.nnz),
    )
    return choice, trials


def build(lake: Lake, ds: date, parameters: Parameters) -> Manifest:
    """Build the choice that night `ds` uses, unless it stands already; it may stand on an earlier day.

    Raises:
        MissingPartitionError: the day's staging was not built.
    """
    staged = event_days(lake, ds)
    day = choice_day(staged[0], ds, parameters)
    built_on = day or young_choice_day(staged[0], ds)
    if most_came_later(lake, staged, built_on):
        built_on = ds
    days = [one for one in staged if one <= built_on]
    split = day - timedelta(days=parameters.training.horizon_days) if day else None
    fingerprint = digest_of(lake.manifest(INTERACTIONS, one).fingerprint for one in days)
    inputs = {f"{INTERACTIONS}/ds<={built_on}": fingerprint}
    weight_milli = parameters.features.event_weight_milli.by_event_type()
    horizon_days, seed = parameters.training.horizon_days, parameters.seed
    # The same day may have chosen by held-out pairs when the shop was young.
    chosen_by = {"event_weight_milli": weight_milli, "split": str(split), "horizon_days": horizon_days, "seed": seed}

    def write() -> Manifest:
        choice, trials = choose(lake, days, built_on, split, weight_milli, seed)
        facts, tried = msgspec.to_builtins(choice), msgspec.to_builtins(trials)
        texts = {"tried.json": json.dumps(tried, indent=1), "choice.json": json.dumps(facts, indent=1)}
        metrics = facts | {"tried": tried}
        return lake.write_artifact(
            ALS_CHOICE, built_on, {}, texts=texts, inputs=inputs, parameters=chosen_by, metrics=metrics
        )

    return lake.build_if_stale(ALS_CHOICE, built_on, inputs, chosen_by, write)


def with_chosen(lake: Lake, ds: date, parameters: Parameters) -> Parameters:
    """Return the parameters with ALS's values filled in: the shop's own where it sets any, else the night's choice.

    Raises:
        MissingPartitionError: the day's staging was not built.
    """
    als = parameters.models.als
    if None not in (als.factors, als.alpha, als.regularization):
        return parameters
    choice = build(lake, ds, parameters).metrics_as(AlsChoice)
    unset = [name for name in ("factors", "alpha", "regularization") if getattr(als, name) is None]
    return parameters.with_values({f"models.als.{name}": getattr(choice, name) for name in unset})
