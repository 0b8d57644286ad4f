"""The night's own evaluation, `marts/evaluation/ds=<day>/holdout.json`: a shadow ranker on labels it never saw.

With two windows or more, the shadow ranker is trained on all but the newest one and orders that window's candidates;
with one, it is trained on half of the users and orders the other half's. This guards a night before it is published;
the figures to quote are those of `topshelf evaluate`, on days that nothing of the night had seen. The same rows tell
what each source of candidates contributed, how each score would have done alone, and how reliable the heads are.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp

from jobs.candidates.sources import SCORES
from jobs.config.parameters import Parameters
from jobs.features.catalogue import Catalogue, load_catalogue
from jobs.features.event_days import event_days
from jobs.lake.evaluations import DayRange, Holdout, KindMetrics, MmrCurve, Reliability
from jobs.lake.tables import CONTENT, HELD_OUT, LABELS, USER, USER_ITEM
from jobs.models.towers import load_towers
from jobs.numeric.arrays import Positions
from jobs.numeric.list_metrics import ListScores, bounds_and_margins, score_lists
from jobs.ranking.heads import SPEND
from jobs.ranking.pair_features import FEATURES
from jobs.ranking.ranker import Ranker
from jobs.training.examples import Examples, Window
from jobs.training.head_outcomes import HeadOutcomes, head_outcomes
from jobs.training.holdout_lists import LIST_LENGTH, Codes, HeldOutCandidates
from jobs.training.holdout_measures import SourceHits, diversity_curve, reliability, source_shares
from jobs.training.sampling import examples_of_users

MEASURED_USERS = 2_000
"""Single scores and diversity are measured on the first so many users: enough to compare, and seconds of a night."""
BOUGHT_BEFORE = "bought_before"
SHELF_FEATURES = {BOUGHT_BEFORE: "pair_purchase_day_count", "popular": "item_purchaser_count_30d"}
"""Features that could order a shelf by themselves, beside the sources' scores, by the name in the report."""

Train = Callable[[Sequence[Examples], Parameters], Ranker]


@dataclass(frozen=True)
class Outcome:
    """What held-out users did in the window; `truth` and `seen` are CSR [n_users, n_items]."""

    truth_kind: str
    """`purchase`, or `any` event where nothing was bought."""
    truth: sp.csr_matrix
    seen: sp.csr_matrix
    audience: Codes
    """Distinct users of each item before the window."""
    n_history_users: int
    popular: Codes
    """Items by popularity."""

    @property
    def label(self) -> str:
        """The examples' label that says the same as `truth`."""
        return "purchase" if self.truth_kind == "purchase" else "interaction"

    def score(self, lists: Positions) -> ListScores:
        """Score lists of the first len(lists) users."""
        n = len(lists)
        return score_lists(lists, self.truth[:n], self.seen[:n], self.audience, self.n_history_users)


def holdout(windows: Sequence[Window], examples: Sequence[Examples], train: Train, parameters: Parameters) -> Holdout:
    """Train a shadow ranker and return how it orders the newest window's candidates, beside two simple lists.

    Args:
        windows: newest first; of the newest one the labels, catalogue and content vectors are read.
        examples: those of the windows that train, in the same order.
        train: returns a ranker trained on the examples given.
        parameters: those of the night.
    """
    window, newest = windows[0], examples[0]
    shadow, is_held_out, rule = _shadow(examples, train, parameters)
    catalogue = load_catalogue(window.lake, window.ds)
    outcome = outcome_of(window, newest.user_id.filter(pa.array(is_held_out)), catalogue)
    rows = examples_of_users(newest, is_held_out)
    candidates = HeldOutCandidates(
        (np.cumsum(is_held_out) - 1)[rows.user], rows.item, rows.features, rows.labels, int(is_held_out.sum())
    )
    threads = parameters.ranking.threads
    uncalibrated = shadow.uncalibrated(candidates.features, threads)
    probabilities = {name: shadow.calibrated(name, predicted) for name, predicted in uncalibrated.items()}
    value = shadow.value_of(probabilities, candidates.features, threads)
    rank = candidates.ranks(value)
    shelf = outcome.score(candidates.lists(rank))
    popular = outcome.score(np.tile(outcome.popular[:LIST_LENGTH], (candidates.n_users, 1)))
    baselines = {"popular": popular, BOUGHT_BEFORE: outcome.score(lists_by(BOUGHT_BEFORE, candidates, outcome))}
    bounds, margins = bounds_and_margins(shelf, baselines, seed=parameters.seed)
    source = candidates.features[:, FEATURES.index("source")].astype(np.int64)
    hits = SourceHits(source, rows.sources, rank, candidates.labels[outcome.label] > 0)
    few = candidates.first(MEASURED_USERS)
    vectors = window.lake.array(CONTENT, window.ds, "item_vectors")
    curve = diversity_curve(few, value[: len(few.user)], catalogue, vectors, outcome.score)
    return Holdout(
        window=label_days(window, parameters.training.horizon_days),
        held_out=rule,
        users_of_shadow=int(len(np.unique(newest.user)) if len(examples) == 1 else 0),
        truth=outcome.truth_kind,
        n_users=shelf.n_users,
        metrics=shelf.metrics,
        baselines={name: scores.metrics for name, scores in baselines.items()},
        intervals=bounds,
        margins=margins,
        sources=source_shares(hits, candidates.n_users, outcome.truth.nnz),
        alone=single_score_shelves(few, rank[: len(few.user)], outcome, available_scores(window)),
        diversity=MmrCurve(parameters.shelves.blend.mmr_lambda, curve),
        heads=heads_reliability(head_outcomes(shadow, uncalibrated, candidates.labels)),
    ).rounded()


def _shadow(
    examples: Sequence[Examples], train: Train, parameters: Parameters
) -> tuple[Ranker, npt.NDArray[np.bool_], str]:
    """Return the shadow ranker, which users of the newest window it never saw, and the rule in words.

    Only users whose candidates are all there are held out.
    """
    newest = examples[0]
    if len(examples) > 1:
        return train(examples[1:], parameters), newest.is_whole, "the newest window"
    is_odd = newest.is_whole & (np.cumsum(newest.is_whole) % 2 == 0)
    shadow = train([examples_of_users(newest, ~is_odd)], parameters)
    return shadow, is_odd, "every second shopper of the only window"


def label_days(window: Window, horizon_days: int) -> DayRange:
    """Return the days of a window's labels: the horizon after its day.

    Where the latest pairs are held out, because the shop has too few days, they are all days up to the window's day.
    """
    if window.lake.root.endswith(f"/{HELD_OUT}"):
        return DayRange(event_days(window.lake, window.ds)[0], window.ds)
    return DayRange(window.ds + timedelta(days=1), window.ds + timedelta(days=horizon_days))


def available_scores(window: Window) -> list[str]:
    """Return the scores that the window's artifacts can give: all but the towers' where those were left out."""
    has_towers = load_towers(window.lake, window.ds) is not None
    return [score for score in SCORES if score != "two_tower" or has_towers]


def heads_reliability(heads: Mapping[str, HeadOutcomes]) -> dict[str, Reliability]:
    """Return the reliability of each head, with that `before` its calibration; of spend only the totals' ratio."""
    found: dict[str, Reliability] = {}
    for name, head in heads.items():
        if name == SPEND:
            predicted, paid = float(head.calibrated.sum()), float(head.happened.sum())
            n, ratio = len(head.happened), predicted / paid if paid else 0.0
            found[name] = Reliability(examples=n, positives=n, ratio=ratio, bins=[])
        else:
            before = reliability(head.uncalibrated, head.happened)
            found[name] = msgspec.structs.replace(reliability(head.calibrated, head.happened), before=before)
    return found


def single_score_shelves(
    candidates: HeldOutCandidates, rank: Codes, outcome: Outcome, scores: Sequence[str]
) -> dict[str, KindMetrics]:
    """Return the metrics of `shelf`, the candidates by `rank`, and of the candidates by each score alone.

    Besides `scores`, SHELF_FEATURES order shelves. Equal scores stand by popularity.
    """
    metrics = {"shelf": outcome.score(candidates.lists(rank)).metrics}
    for name in (*scores, *SHELF_FEATURES):
        if SHELF_FEATURES.get(name, name) in FEATURES:
            metrics[name] = outcome.score(lists_by(name, candidates, outcome)).metrics
    return metrics


def lists_by(name: str, candidates: HeldOutCandidates, outcome: Outcome) -> Positions:
    """Return the candidates as lists by a source's score or one of SHELF_FEATURES alone; equals by popularity."""
    popularity = np.zeros(outcome.truth.shape[1])
    popularity[outcome.popular] = np.arange(len(outcome.popular), 0, -1)
    value = np.nan_to_num(candidates.features[:, FEATURES.index(SHELF_FEATURES.get(name, name))])
    return candidates.lists(candidates.ranks(value, popularity[candidates.item]))


def outcome_of(window: Window, user_id: pa.Array, catalogue: Catalogue) -> Outcome:
    """Return what the users did by the window's labels: purchases, or any event where nothing was bought."""
    lake, ds = window.lake, window.ds
    labels = lake.arrow(LABELS, ds)
    history = lake.arrow(USER_ITEM, ds, ["user_id", "item_pos", "purchase_count"])
    by_purchase = bool(pc.any(labels["purchased"]).as_py())
    if by_purchase:
        labels = labels.filter(labels["purchased"])
        history = history.filter(pc.greater(history["purchase_count"], 0))
    return Outcome(
        truth_kind="purchase" if by_purchase else "any",
        truth=_marked_pairs(labels, user_id, len(catalogue)),
        seen=_marked_pairs(history, user_id, len(catalogue)),
        audience=catalogue.columns["user_count_total"].astype(np.int64),
        n_history_users=lake.manifest(USER, ds).row_count or 1,
        popular=catalogue.by_popularity.astype(np.int64),
    )


def _marked_pairs(rows: pa.Table, user_id: pa.Array, n_items: int) -> sp.csr_matrix:
    """Return users x items with a 1 where `rows` has the pair."""
    user = pc.index_in(rows["user_id"], value_set=user_id)
    known = rows.append_column("user", user).filter(pc.is_valid(user))
    pairs = (known["user"].to_numpy(), known["item_pos"].to_numpy())
    matrix = sp.csr_matrix((np.ones(len(known)), pairs), shape=(len(user_id), n_items))
    matrix.data[:] = 1
    return matrix
