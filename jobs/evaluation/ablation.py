"""Measure what each piece of a night is worth: its ranker is trained and scored again without it, `ablation.json`.

    topshelf ablation --ds 2011-11-09

The rankers are scored on the users of the night's newest training window, which they are never trained on; the days
after `ds` stay untouched. Without a source, candidates are generated again and its scores are missing; without a
group of features, its columns are missing; without a head, its terms are missing from the value. Each ranker is
trained with several seeds, and each user's figures are means over them. The 95% intervals are over users.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from rich.progress import track
from rich.table import Table

from jobs.config.parameters import Parameters
from jobs.config.terminal import Terminal
from jobs.evaluation.console import HEADINGS, HEADLINE
from jobs.features.catalogue import Catalogue, load_catalogue
from jobs.lake.evaluations import Ablation, AblationWindow, Bounds, KindMetrics, MetricChanges
from jobs.lake.lake import Lake
from jobs.lake.tables import CONTENT, SHARDS
from jobs.numeric.arrays import Values
from jobs.numeric.list_metrics import K, ListScores, intervals
from jobs.ranking.coarse_cut import coarse_cut, coarse_keep
from jobs.ranking.heads import TERMS, required_facts
from jobs.ranking.pair_features import (
    COARSE_FEATURES,
    CROSS_FEATURES,
    FEATURES,
    ITEM_FEATURES,
    PAIR_FEATURES,
    USER_FEATURES,
)
from jobs.ranking.ranker import ORDER, Ranker
from jobs.shelves.blend import Blend, blended
from jobs.training.examples import Examples, Window, example_shard, examples_of, load_shown
from jobs.training.holdout import Outcome, outcome_of
from jobs.training.holdout_lists import HeldOutCandidates
from jobs.training.holdout_measures import intra_list_diversity
from jobs.training.sampling import examples_of_users
from jobs.training.train_heads import train
from jobs.training.window_record import read_windows
from serving.snapshot.record import SOURCES

SEEDS = 2
TABLE_WIDTH = 100
"""Least width of the printed table, so that a file has all its columns as well."""
MMR_LAMBDA = 0.95
"""For a shop without MMR, the blend's line shows the cost of MMR at this lambda."""


def _cross(*words: str) -> tuple[str, ...]:
    """Return the cross features with one of the words in their name."""
    return tuple(name for name in CROSS_FEATURES if any(word in name for word in words))


FEATURE_GROUPS: dict[str, tuple[str, ...]] = {
    "item": tuple(f"item_{name}" for name in ITEM_FEATURES),
    "user": tuple(f"user_{name}" for name in USER_FEATURES),
    "pair": (*(f"pair_{name}" for name in PAIR_FEATURES), "pair_purchase_share", "pair_day_share"),
    "rhythm": ("pair_mean_gap_days", "pair_gap_sd_days", "gap_ratio", "user_gap_ratio", "item_mean_gap_days"),
    "scores": _cross("als", "two_tower", "item_item", "ease", "follows", "content", "taste"),
    "ranks and shares": _cross("_rank", "_share"),
    "price": ("item_price_minor", "user_mean_price_minor", "price_ratio"),
    "votes and source": ("votes", "source", "candidate_count"),
}


class AblationError(ValueError):
    """The night has too few training windows for an ablation."""


@dataclass(frozen=True)
class AblatedNight:
    """A night's training windows, newest first, from which examples and rankers are made again."""

    lake: Lake
    windows: Sequence[Window]
    parameters: Parameters
    seeds: int

    def examples(self, without: str | None = None) -> list[Examples]:
        """Return the examples of each window, generated again, perhaps without a source."""
        facts = required_facts(self.parameters.ranking.head_weight.positive())
        return [
            examples_of(self._generated(window, without), facts, load_shown(window.lake, window.ds))
            for window in self.windows
        ]

    def _generated(self, window: Window, without: str | None) -> pa.Table:
        shard = example_shard(window.lake, window.ds, self.parameters, without)
        return pa.Table.from_batches([batch for number in range(SHARDS) for batch in shard(number)])

    def rankers(self, examples: Sequence[Examples]) -> list[Ranker]:
        """Return a ranker for each seed; the oldest window's examples calibrate, if they do in the night."""
        calibrates = self.windows[-1].calibrates
        training, apart = (examples[:-1], examples[-1]) if calibrates else (examples, None)
        seeds = range(self.parameters.seed, self.parameters.seed + self.seeds)
        return [train(training, self.parameters.with_values({"seed": seed}), apart) for seed in seeds]


@dataclass(frozen=True)
class SeedMeans:
    """Means over the rankers of all seeds: each user's values by kind and metric, and the lists' diversity."""

    values: dict[str, dict[str, Values]]
    diversity: float

    @classmethod
    def over(cls, scores: Sequence[ListScores], diversity: Sequence[float]) -> "SeedMeans":
        """Return the means of the scores and the diversity of each ranker's lists."""
        values = {
            kind: {metric: np.mean([score.values[kind][metric] for score in scores], axis=0) for metric in metrics}
            for kind, metrics in scores[0].values.items()
        }
        return cls(values, float(np.mean(diversity)))

    @property
    def metrics(self) -> KindMetrics:
        """Means over users, by kind and metric."""
        return {
            kind: {metric: float(values.mean()) for metric, values in metrics.items()}
            for kind, metrics in self.values.items()
        }


def ablation(lake: Lake, ds: date, parameters: Parameters, seeds: int = SEEDS) -> Ablation:
    """Return the whole ranker's metrics, and what they gain without each piece (a loss is below zero).

    Intervals are 95% bootstraps over users of the paired differences.

    Raises:
        AblationError: the night has fewer than two training windows, or was not run.
    """
    night = AblatedNight(lake, _windows_of(lake, ds), parameters, seeds)
    newest = night.windows[0]
    catalogue = load_catalogue(newest.lake, newest.ds)
    vectors = newest.lake.array(CONTENT, newest.ds, "item_vectors")
    examples = night.examples()
    rankers = night.rankers(examples[1:])
    examples[0] = examples_of_users(examples[0], examples[0].is_whole)
    user_id = examples[0].user_id.filter(pa.array(examples[0].is_whole))
    scorer = ShelfScorer(outcome_of(newest, user_id, catalogue), user_id, catalogue, vectors, parameters)
    whole = scorer.score(examples[0], rankers)
    without: dict[str, dict[str, MetricChanges]] = {}
    for kind, name, make in _pieces(night, examples, rankers):
        without.setdefault(kind, {})[name] = _changes(scorer.score(*make()), whole)
    has_mmr = parameters.shelves.blend.mmr_lambda < 1
    name, mmr_lambda = ("MMR", 1.0) if has_mmr else (f"(with MMR at {MMR_LAMBDA:g})", MMR_LAMBDA)
    other = replace(scorer, parameters=parameters.with_values({"shelves.blend.mmr_lambda": mmr_lambda}))
    without["blend"] = {name: _changes(other.score(examples[0], rankers), whole)}
    if any(ranker.coarse is not None for ranker in rankers):
        cut = replace(scorer, keep=coarse_keep(parameters)).score(examples[0], rankers)
        without["coarse cut"] = {f"(with {coarse_keep(parameters)} a user kept)": _changes(cut, whole)}
    return Ablation(
        window=AblationWindow(as_of=newest.ds, horizon_days=parameters.training.horizon_days),
        learned_from=[window.ds for window in night.windows[1:] if not window.calibrates],
        seeds=seeds,
        n_users={kind: len(metrics[f"recall@{K}"]) for kind, metrics in whole.values.items()},
        metrics=whole.metrics,
        diversity=whole.diversity,
        without=without,
    ).rounded()


def _windows_of(lake: Lake, ds: date) -> list[Window]:
    windows = read_windows(lake, ds)
    if len(windows) < 2:
        raise AblationError(
            f"night {ds} has {len(windows)} training windows, and an ablation needs at least two; "
            f"run topshelf nightly --ds {ds} on a shop of at least two horizons and "
            "training.windows.min_history_days of events"
        )
    return windows


Piece = tuple[str, str, Callable[[], tuple[Examples, Sequence[Ranker]]]]


def _pieces(night: AblatedNight, examples: Sequence[Examples], rankers: Sequence[Ranker]) -> Iterator[Piece]:
    """Yield (kind, name, what makes the newest window's examples and the rankers without the piece)."""

    def no_source(name: str) -> tuple[Examples, Sequence[Ranker]]:
        generated = night.examples(name)
        return examples_of_users(generated[0], generated[0].is_whole), night.rankers(generated[1:])

    def no_features(names: Sequence[str]) -> tuple[Examples, Sequence[Ranker]]:
        blind = [_blind(window, names) for window in examples]
        return blind[0], night.rankers(blind[1:])

    def no_head(name: str) -> tuple[Examples, Sequence[Ranker]]:
        return examples[0], [_without_head(ranker, name) for ranker in rankers]

    heads = list(rankers[0].boosters)
    brought = np.bitwise_or.reduce(examples[0].sources, initial=0)
    sources = [name for code, name in enumerate(SOURCES) if brought >> code & 1]
    pieces: list[Piece] = [("source", name, partial(no_source, name)) for name in sources]
    pieces += [("features", name, partial(no_features, features)) for name, features in FEATURE_GROUPS.items()]
    if len(heads) > 1:
        pieces += [("head", name, partial(no_head, name)) for name in heads]
    yield from track(pieces, "without each piece")


def _blind(examples: Examples, names: Sequence[str]) -> Examples:
    """Return the examples with the features of these names missing."""
    features = examples.features.copy()
    features[:, [FEATURES.index(name) for name in names]] = np.nan
    return replace(examples, features=features)


def _without_head(ranker: Ranker, name: str) -> Ranker:
    """Return the ranker without one head; without its last probability, the order head's own score is the value."""
    if name == ORDER:
        return replace(ranker, order=None)
    remaining = {term: weight for term, weight in ranker.weights.items() if name not in TERMS[term]}
    return replace(ranker, weights=remaining)


@dataclass(frozen=True)
class ShelfScorer:
    """Orders the candidates of the newest window's users by value, and scores the lists by what the users did."""

    outcome: Outcome
    user_id: pa.Array
    """The users of `outcome`; one without any candidate has an empty list."""
    catalogue: Catalogue
    item_vectors: npt.NDArray[np.float32]
    parameters: Parameters
    keep: int | None = None
    """How many candidates of a user the coarse cut keeps; None for all, as in the night's own evaluation."""

    def score(self, examples: Examples, rankers: Sequence[Ranker]) -> SeedMeans:
        """Return the means over the rankers' lists of the examples."""
        row = pc.index_in(examples.user_id, value_set=self.user_id).to_numpy().astype(np.int64)
        candidates = HeldOutCandidates(
            row[examples.user], examples.item, examples.features, examples.labels, len(self.user_id)
        )
        scores, diversity = [], []
        for ranker in rankers:
            kept = self._kept(candidates, ranker)
            lists = kept.lists(kept.ranks_in(self._order(kept, ranker)))
            scores.append(self.outcome.score(lists))
            diversity.append(intra_list_diversity(lists[:, :K], self.item_vectors))
        return SeedMeans.over(scores, diversity)

    def _kept(self, candidates: HeldOutCandidates, ranker: Ranker) -> HeldOutCandidates:
        """Return the candidates that the coarse cut keeps."""
        if self.keep is None or ranker.coarse is None:
            return candidates
        score = ranker.coarse_score(candidates.features[:, [FEATURES.index(name) for name in COARSE_FEATURES]])
        rows = coarse_cut(score, candidates.user, self.keep)
        return replace(
            candidates,
            user=candidates.user[rows],
            item=candidates.item[rows],
            features=candidates.features[rows],
            labels={name: label[rows] for name, label in candidates.labels.items()},
        )

    def _order(self, candidates: HeldOutCandidates, ranker: Ranker) -> npt.NDArray[np.int64]:
        """Return the rows user by user, by value as the night's blend varies it."""
        value = ranker.value(candidates.features, self.parameters.ranking.threads)
        by_value = np.lexsort((candidates.item, -value, candidates.user))
        chosen = self.parameters.shelves.blend
        blend = Blend(chosen.mmr_lambda, chosen.places, chosen.max_per.caps())
        return blended(candidates.user, candidates.item, value, by_value, self.catalogue, self.item_vectors, blend)


def _changes(without: SeedMeans, whole: SeedMeans) -> MetricChanges:
    """Return what the metrics gain without the piece, each with its interval over the same users."""
    gains = {
        kind: {metric: without.values[kind][metric] - values for metric, values in metrics.items()}
        for kind, metrics in whole.values.items()
    }
    means = {
        kind: {metric: float(gain.mean()) for metric, gain in metrics.items()} for kind, metrics in gains.items()
    }
    return MetricChanges(
        diversity=without.diversity - whole.diversity,
        all=means["all"],
        all_interval=intervals(gains["all"]),
        new=means["new"],
        new_interval=intervals(gains["new"]),
    )


def print_ablation(record: Ablation) -> None:
    """Print one line a piece: the metrics' gain or loss without it, with * where the 95% interval excludes zero."""
    window = record.window
    table = Table(title=f"Users of the {window.horizon_days} days after {window.as_of}", title_justify="left")
    for column, heading in enumerate(("without", *HEADINGS)):
        table.add_column(heading, justify="right" if column else "left", no_wrap=True)
    whole = [f"{record.metrics[kind][metric]:.4f} " for kind, metric in HEADLINE]
    table.add_row("nothing", *whole, style="bold", end_section=True)
    for piece_kind, pieces in record.without.items():
        for number, (name, changes) in enumerate(pieces.items(), start=1):
            cells = [_cell(*changes.change(kind, metric)) for kind, metric in HEADLINE]
            table.add_row(f"{piece_kind} {name}", *cells, end_section=number == len(pieces))
    console = Terminal(width=max(Terminal().width, TABLE_WIDTH))
    console.print(table)
    console.print(
        f"{record.n_users['all']:,} users, {record.n_users['new']:,} with something new; seeds a line: "
        f"{record.seeds}; trained on windows as of {', '.join(str(day) for day in record.learned_from)}; "
        "*: the 95% interval excludes zero"
    )


def _cell(gain: float, interval: Bounds) -> str:
    return f"{gain:+.4f}" + ("*" if interval[0] > 0 or interval[1] < 0 else " ")


def run_ablation(lake: Lake, ds: date, parameters: Parameters, seeds: int) -> None:
    """Run the ablation of one night, write the record, and print it.

    Raises:
        AblationError: the night has fewer than two training windows, or was not run.
        MissingPartitionError: a table of the night is gone.
    """
    record = ablation(lake, ds, parameters, seeds)
    record.write(lake, ds)
    print_ablation(record)
    print(f"{lake.root}/{Ablation.path(ds)}")
