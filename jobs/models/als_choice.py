"""Build `artifacts/als_choice`: ALS's rank, confidence weight and regularisation, as the shop's own data choose them.

    topshelf stage choose_als --ds 2026-01-31

The choice stands on a Sunday of a calendar of four weeks, at or before the night's newest label window: so that all
nights of these weeks share it, whichever of them ran, and that window's labels took no part in it. What happened up
to the horizon before that Sunday is fitted; what shoppers newly chose within the horizon is asked for. Values that a
shop sets itself are kept.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp
from implicit.als import AlternatingLeastSquares
from threadpoolctl import threadpool_limits

from jobs.config.calendar import choice_day
from jobs.config.parameters import Parameters
from jobs.features.strength import interaction_values
from jobs.lake.lake import Lake
from jobs.lake.manifest import Manifest, digest_of
from jobs.lake.tables import ALS_CHOICE, INTERACTIONS
from jobs.models.als import ALS_UNCHOSEN, AlsValues
from jobs.numeric.arrays import coded, top_columns
from jobs.numeric.list_metrics import K, marked, user_values

ALPHAS = (1.0, 3.0, 10.0, 30.0, 100.0)
REGULARIZATIONS = (0.01, 1.0, 10.0, 30.0, 100.0)
ROUNDS = ((32, 5, 25), (64, 15, 8), (128, 15, 3), (256, 15, 1))
"""(factors, iterations, how many pairs of the other two take part): successive halving, the best of each go on."""
MOST_EVENTS = 1_000_000
"""Of a larger shop, shoppers are drawn by hash, so that about so many events are left."""
MOST_ITEMS, MOST_ASKED = 20_000, 2_000
FEWEST_ASKED = 200
"""Fewer cannot tell values apart: a standard error of recall is then some two points."""
COLUMNS = ("user_id", "item_id", "event_type", "event_date")


@dataclass(frozen=True)
class Question:
    """What values are judged by: `known` CSR [n_users, n_items] of strengths, `truth` CSR [len(asked), n_items]."""

    known: sp.csr_matrix
    asked: npt.NDArray[np.int64]
    truth: sp.csr_matrix


def question(events: pa.Table, split: date, weight_milli: dict[str, int]) -> Question:
    """Ask for what known shoppers newly chose after `split`: purchases, or of a shop without, any positive event."""
    _, user = coded(events["user_id"])
    _, item = coded(events["item_id"])
    kind = events["event_type"].cast(pa.string())
    weight = np.zeros(len(kind), dtype=np.int64)
    for name, of in weight_milli.items():
        weight[pc.equal(kind, name).to_numpy()] = of
    before = events["event_date"].to_numpy().astype("datetime64[D]") <= np.datetime64(split, "D")
    shape = (int(user.max(initial=-1)) + 1, int(item.max(initial=-1)) + 1)

    def matrix(rows: npt.NDArray[np.bool_]) -> sp.csr_matrix:
        return sp.coo_matrix((weight[rows], (user[rows], item[rows])), shape=shape).tocsr()

    whole = matrix(before & (weight > 0))
    whole = whole[:, _most_touched(whole)]
    known = sp.csr_matrix(whole, dtype=np.float32)
    known.data = interaction_values(whole.data)
    bought = pc.equal(kind, "purchase").to_numpy()
    chosen = bought if bought.any() else weight > 0
    after = marked(matrix(chosen & ~before)[:, _most_touched(matrix(before & (weight > 0)))])
    fresh = sp.csr_matrix(after - after.multiply(marked(known)))
    fresh.eliminate_zeros()
    asked = np.flatnonzero((np.diff(fresh.indptr) > 0) & (np.diff(known.indptr) > 0))
    asked = asked[:: -(-len(asked) // MOST_ASKED) or 1]
    return Question(known, asked, sp.csr_matrix(fresh[asked]))


def _most_touched(pairs: sp.csr_matrix) -> npt.NDArray[np.int64]:
    """Return the columns of the MOST_ITEMS items with most shoppers, ascending; none without any."""
    shoppers = np.diff(pairs.tocsc().indptr)
    most = np.argsort(-shoppers, kind="stable")[:MOST_ITEMS]
    return np.sort(most[shoppers[most] > 0])


def worth(asked: Question, values: AlsValues, iterations: int, seed: int) -> dict[str, float]:
    """Return recall and NDCG at K of unseen items, over the asked shoppers, folded in as candidates fold them in."""
    model = AlternatingLeastSquares(**asdict(values), iterations=iterations, random_state=seed, num_threads=0)
    with threadpool_limits(1, "blas"):
        model.fit(asked.known, show_progress=False)
        own = asked.known[asked.asked]
        scores = (model.recalculate_user(asked.asked, own) @ model.item_factors.T).astype(np.float64)
    scores[own.nonzero()] = -np.inf
    found = user_values(top_columns(scores, K), asked.truth)
    return {name: round(float(found[name].mean()), 6) for name in (f"recall@{K}", f"ndcg@{K}")}


def search(asked: Question, seed: int) -> list[dict[str, Any]]:
    """Return what was tried, each with its figures, in the order of trying."""
    pairs: Sequence[tuple[float, float]] = list(product(ALPHAS, REGULARIZATIONS))
    tried: list[dict[str, Any]] = []
    for factors, iterations, most in ROUNDS:
        round_ = []
        for alpha, regularization in pairs[:most]:
            values = AlsValues(factors, alpha, regularization)
            told = worth(asked, values, iterations, seed)
            round_.append(asdict(values) | {"iterations": iterations} | told)
        pairs = [(row["alpha"], row["regularization"]) for row in sorted(round_, key=_best_first)]
        tried += round_
    return tried


def _best_first(row: dict[str, Any]) -> tuple[float, ...]:
    """Order by recall, then NDCG, then what is cheaper and plainer."""
    return (-row[f"recall@{K}"], -row[f"ndcg@{K}"], row["factors"], row["alpha"], row["regularization"])


def winner(tried: Sequence[dict[str, Any]]) -> AlsValues:
    """Return the best of what was fitted to its end."""
    whole = max(row["iterations"] for row in tried)
    best = min((row for row in tried if row["iterations"] == whole), key=_best_first)
    return AlsValues(best["factors"], best["alpha"], best["regularization"])


def read_events(lake: Lake, days: Sequence[date], until: date) -> pa.Table:
    """Return events of known shoppers up to `until`, of at most about MOST_EVENTS events' worth of shoppers."""
    counts = [lake.manifest(INTERACTIONS, day).row_count or 0 for day in days]
    share = min(1.0, MOST_EVENTS / max(sum(counts), 1))
    parts = []
    for day in (day for day, rows in zip(days, counts, strict=True) if rows):
        rows = lake.arrow(INTERACTIONS, day, COLUMNS)
        rows = rows.filter(pc.and_(pc.is_valid(rows["user_id"]), pc.less_equal(rows["event_date"], pa.scalar(until))))
        if share < 1:
            users = rows["user_id"].cast(pa.string()).to_numpy(zero_copy_only=False)
            rows = rows.filter(pa.array(pd.util.hash_array(users) < share * 2.0**64))
        parts.append(rows)
    types = (pa.string(), pa.string(), pa.string(), pa.date32())
    schema = pa.schema(list(zip(COLUMNS, types, strict=True)))
    return pa.concat_tables([part.cast(schema) for part in parts]) if parts else schema.empty_table()


def build(lake: Lake, ds: date, parameters: Parameters) -> Manifest:
    """Build the choice that night `ds` uses, unless it stands already; it may stand on an earlier day.

    Raises:
        MissingPartitionError: the day's staging was not built.
    """
    lake.manifest(INTERACTIONS, ds)
    known = lake.days(INTERACTIONS)
    day = choice_day(known[0], ds, parameters)
    at = day or ds
    days = [each for each in known if each <= at] if day else []
    inputs = {f"{INTERACTIONS}/ds<={at}": digest_of(lake.manifest(INTERACTIONS, each).fingerprint for each in days)}
    event_weight_milli = parameters.features.event_weight_milli.by_event_type()
    horizon_days = parameters.training.horizon_days
    shape = {"event_weight_milli": event_weight_milli, "horizon_days": horizon_days, "seed": parameters.seed}

    def choose() -> Manifest:
        told: dict[str, Any] = {**asdict(ALS_UNCHOSEN), "chosen": False, "because": "the shop has too few days"}
        tried: list[dict[str, Any]] = []
        if day:
            split = day - timedelta(days=horizon_days)
            asked = question(read_events(lake, days, day), split, event_weight_milli)
            told |= {"split": str(split), "until": str(day), "asked": len(asked.asked), "pairs": int(asked.known.nnz)}
            told["because"] = f"only {len(asked.asked)} shoppers can be asked; it takes {FEWEST_ASKED}"
            if len(asked.asked) >= FEWEST_ASKED:
                tried = search(asked, parameters.seed)
                told |= asdict(winner(tried)) | {
                    "chosen": True,
                    "because": f"of {len(tried)} tried, recall was highest",
                }
        texts = {"tried.json": json.dumps(tried, indent=1), "choice.json": json.dumps(told, indent=1)}
        return lake.write_artifact(
            ALS_CHOICE, at, {}, texts=texts, inputs=inputs, parameters=shape, metrics=told | {"tried": tried}
        )

    return lake.build_if_stale(ALS_CHOICE, at, inputs, shape, choose)


def with_chosen(lake: Lake, ds: date, parameters: Parameters) -> Parameters:
    """Return the parameters with ALS's values filled in: a shop's own where it set any, else the night's choice.

    Raises:
        MissingPartitionError: the day's staging was not built.
    """
    als = parameters.models.als
    if None not in (als.factors, als.alpha, als.regularization):
        return parameters
    chosen = build(lake, ds, parameters).metrics
    unset = {name: chosen[name] for name in ("factors", "alpha", "regularization") if getattr(als, name) is None}
    return parameters.with_values({f"models.als.{name}": value for name, value in unset.items()})
