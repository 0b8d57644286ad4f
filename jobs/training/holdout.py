"""The night's own evaluation, `marts/evaluation/ds=<day>/holdout.json`: a ranker that never saw what it is asked.

With two windows or more, a shadow ranker learns from all but the newest one and orders that window's candidates;
with one, it learns from half of the users and orders the other half's. This guards a night before it is published;
what people quote is `topshelf evaluate`, on days that nothing of the night had seen. The same rows tell what each
source of candidates was good for, how each score would have done alone, and how far probabilities can be believed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp

from jobs.candidates.sources import SCORES
from jobs.config.parameters import Parameters
from jobs.features.catalogue import Catalogue, load_catalogue
from jobs.lake.tables import CONTENT, LABELS
from jobs.numeric.arrays import Positions, Values
from jobs.numeric.list_metrics import ListScores, rounded, score_lists
from jobs.ranking.heads import SPEND
from jobs.ranking.pair_features import FEATURES
from jobs.ranking.ranker import Ranker
from jobs.training.examples import Examples, Window
from jobs.training.head_outcomes import HeadOutcomes, head_outcomes
from jobs.training.holdout_lists import LIST_LENGTH, HeldOutCandidates
from jobs.training.holdout_measures import SourceHits, diversity_curve, reliability, source_shares
from jobs.training.sampling import examples_of_users

ALONE_USERS = 2_000
"""The first so many users are ordered by each score alone: enough to compare by, and seconds of a night."""
OF_THE_PAIR = {"bought_before": "pair_purchase_day_count", "popular": "item_purchaser_count_30d"}
"""Features that could make a shelf by themselves, beside the sources' scores."""

Codes = npt.NDArray[np.int64]


Train = Callable[[Sequence[Examples], Parameters], Ranker]


@dataclass(frozen=True)
class Outcome:
    """What the asked users did in the window; `marks` and `seen` are CSR [n_asked, n_items]."""

    kind: str
    marks: sp.csr_matrix
    seen: sp.csr_matrix
    audience: Codes
    n_users: int
    popular: Codes

    @property
    def label(self) -> str:
        """The examples' label that says the same."""
        return "purchase" if self.kind == "purchase" else "interaction"

    def score(self, lists: Positions) -> ListScores:
        """Score lists of the first len(lists) users."""
        n = len(lists)
        return score_lists(lists, self.marks[:n], self.seen[:n], self.audience, self.n_users)


def holdout_path(ds: date) -> str:
    """Return where the night's own evaluation stands in the lake."""
    return f"marts/evaluation/ds={ds}/holdout.json"


def holdout(
    windows: Sequence[Window], examples: Sequence[Examples], train: Train, parameters: Parameters
) -> dict[str, Any]:
    """Return the metrics of a shadow ranker on labels that it did not see, beside plain popularity's.

    `sources` is `jobs.training.holdout_measures`, `alone` the metrics of shelves by one score each, the shadow's
    among them over the same users, `diversity` is `jobs.training.holdout_measures`, and `heads` is
    `heads_reliability`.
    """
    newest = examples[0]
    odd = np.arange(len(newest.user_id)) % 2 == 1
    if len(examples) > 1:
        shadow, kept, rule = train(examples[1:], parameters), np.ones_like(odd), "the newest window"
    else:
        shadow, kept = train([examples_of_users(newest, ~odd)], parameters), odd
        rule = "every second shopper of the only window"
    catalogue = load_catalogue(windows[0].lake, windows[0].ds)
    outcome = outcome_of(windows[0], newest.user_id.filter(pa.array(kept)), catalogue)
    rows = examples_of_users(newest, kept)
    asked = HeldOutCandidates(
        (np.cumsum(kept) - 1)[rows.user], rows.item, rows.features, rows.labels, int(kept.sum())
    )
    threads = parameters.ranking.threads
    uncalibrated = shadow.uncalibrated(asked.features, threads)
    probabilities = {name: shadow.calibrated(name, of) for name, of in uncalibrated.items()}
    value = shadow.value_of(probabilities, asked.features, threads)
    rank = asked.ranks(value)
    shelf = outcome.score(asked.lists(rank))
    popular = outcome.score(np.tile(outcome.popular[:LIST_LENGTH], (asked.n_users, 1)))
    source = asked.features[:, FEATURES.index("source")].astype(np.int64)
    judged = SourceHits(source, rows.sources, rank, asked.labels[outcome.label] > 0)
    return dict(
        rounded(
            {
                "window": _window_days(windows[0], len(examples) > 1, parameters),
                "held_out": rule,
                "users_of_shadow": int(len(np.unique(newest.user)) if len(examples) == 1 else 0),
                "truth": outcome.kind,
                "n_users": shelf.n_users,
                "metrics": shelf.metrics,
                "baselines": {"popular": popular.metrics},
                "sources": source_shares(judged, asked.n_users, outcome.marks.nnz),
                "alone": _alone(asked, rank, outcome),
                "diversity": {
                    "mmr_lambda": parameters.shelves.blend.mmr_lambda,
                    "curve": _diversity(windows[0], asked, value, outcome, catalogue),
                },
                "heads": heads_reliability(head_outcomes(shadow, uncalibrated, asked.labels)),
            }
        )
    )


def heads_reliability(heads: Mapping[str, HeadOutcomes]) -> dict[str, Any]:
    """Return `jobs.training.holdout_measures` of each head, `before` its calibration too; of money only what was
    said and paid.
    """
    found: dict[str, Any] = {}
    for name, of in heads.items():
        if name == SPEND:
            said, paid = float(of.calibrated.sum()), float(of.happened.sum())
            ratio = said / paid if paid else 0.0
            found[name] = {"examples": len(of.happened), "positives": len(of.happened), "ratio": ratio, "bins": []}
        else:
            found[name] = reliability(of.calibrated, of.happened) | {
                "before": reliability(of.uncalibrated, of.happened)
            }
    return found


def _alone(asked: HeldOutCandidates, rank: Codes, outcome: Outcome) -> dict[str, dict[str, dict[str, float]]]:
    """Return the metrics of the first users' candidates by the shadow, and by one score each; ties by popularity."""
    some = asked.first(ALONE_USERS)
    scores = {"shelf": outcome.score(some.lists(rank[: len(some.user)]))}
    popularity = np.zeros(outcome.marks.shape[1])
    popularity[outcome.popular] = np.arange(len(outcome.popular), 0, -1)
    for name, feature in {**{score: score for score in SCORES}, **OF_THE_PAIR}.items():
        if feature in FEATURES:
            value = np.nan_to_num(some.features[:, FEATURES.index(feature)])
            scores[name] = outcome.score(some.lists(some.ranks(value, popularity[some.item])))
    return {name: of.metrics for name, of in scores.items()}


def _diversity(
    window: Window, asked: HeldOutCandidates, value: Values, outcome: Outcome, catalogue: Catalogue
) -> list[dict[str, float]]:
    """Return `jobs.training.holdout_measures` of the first users' shelves."""
    some = asked.first(ALONE_USERS)
    vectors = window.lake.array(CONTENT, window.ds, "item_vectors")
    return diversity_curve(some, value[: len(some.user)], catalogue, vectors, outcome.score)


def _window_days(window: Window, by_time: bool, parameters: Parameters) -> dict[str, str]:
    first = window.ds + timedelta(days=1) if by_time else window.ds
    last = window.ds + timedelta(days=parameters.training.horizon_days) if by_time else window.ds
    return {"from": str(first), "until": str(last)}


def outcome_of(window: Window, user_id: pa.Array, catalogue: Catalogue) -> Outcome:
    """Return what the users did by the window's labels: purchases, or anything where nothing was bought."""
    lake, ds = window.lake, window.ds
    labels = lake.arrow(LABELS, ds)
    history = lake.arrow("features/user_item", ds, ["user_id", "item_pos", "purchase_count"])
    by_purchase = bool(pc.any(labels["purchased"]).as_py())
    if by_purchase:
        labels = labels.filter(labels["purchased"])
        history = history.filter(pc.greater(history["purchase_count"], 0))
    return Outcome(
        kind="purchase" if by_purchase else "any",
        marks=_marks(labels, user_id, len(catalogue)),
        seen=_marks(history, user_id, len(catalogue)),
        audience=catalogue.columns["user_count_total"].astype(np.int64),
        n_users=lake.manifest("features/user", ds).row_count or 1,
        popular=catalogue.by_popularity.astype(np.int64),
    )


def _marks(rows: pa.Table, user_id: pa.Array, n_items: int) -> sp.csr_matrix:
    """Return users x items with a 1 where `rows` has the pair."""
    owner = pc.index_in(rows["user_id"], value_set=user_id)
    known = rows.append_column("owner", owner).filter(pc.is_valid(owner))
    at = (known["owner"].to_numpy(), known["item_pos"].to_numpy())
    matrix = sp.csr_matrix((np.ones(len(known)), at), shape=(len(user_id), n_items))
    matrix.data[:] = 1
    return matrix
