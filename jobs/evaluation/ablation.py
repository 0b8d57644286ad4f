"""Tell what each piece is worth: a night's ranker is trained and judged again without it, `ablation.json`.

    topshelf ablation --ds 2011-11-09

Asked are the users of the night's newest label window, which the rankers here never learn from: so the days after
`ds` stay untouched. Without a source, candidates are drawn again and its scores are silent; without a group of
features, its columns are missing; without a head, the value does without. What noise there is in training is told
by the intervals: each ranker is trained with several seeds, and every user's figures are the mean over them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console
from rich.progress import track
from rich.table import Table

from jobs.candidates.generate import candidate_parameters
from jobs.config.parameters import Parameters
from jobs.evaluation.console import HEADINGS, HEADLINE
from jobs.features.catalogue import Catalogue, load_catalogue
from jobs.lake.lake import Lake
from jobs.lake.tables import CONTENT, SHARDS
from jobs.numeric.arrays import Values
from jobs.numeric.list_metrics import K, ListScores, intervals, rounded
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
from jobs.training.examples import Examples, ExampleShard, Window, examples_of, load_shown
from jobs.training.holdout import Outcome, outcome_of
from jobs.training.holdout_lists import HeldOutCandidates
from jobs.training.holdout_measures import intra_list_diversity
from jobs.training.train_heads import train
from jobs.training.windows import read_windows
from serving.snapshot.record import SOURCES

SEEDS = 2
WIDTH = 100
"""Columns of the printed table, in a file as well."""
MMR_LAMBDA = 0.95
"""Where a shop leaves MMR off, the blend's line tells what it would cost to turn it on at this lambda."""


def _cross(*parts: str) -> tuple[str, ...]:
    return tuple(name for name in CROSS_FEATURES if any(part in name for part in parts))


FEATURE_GROUPS: dict[str, tuple[str, ...]] = {
    "item": tuple(f"item_{name}" for name in ITEM_FEATURES),
    "user": tuple(f"user_{name}" for name in USER_FEATURES),
    "pair": (*(f"pair_{name}" for name in PAIR_FEATURES), "pair_purchase_share", "pair_day_share"),
    "rhythm": ("pair_mean_gap_days", "pair_gap_sd_days", "gap_ratio", "user_gap_ratio", "item_mean_gap_days"),
    "scores": _cross("als", "two_tower", "item_item", "ease", "recent", "content", "taste"),
    "recent season": _cross("recent"),
    "ranks and shares": _cross("_rank", "_share"),
    "price": ("item_price_minor", "user_mean_price_minor", "price_ratio"),
    "votes and source": ("votes", "source", "candidate_count"),
}


class AblationError(ValueError):
    """There is nothing to learn a piece's worth from."""


@dataclass(frozen=True)
class _Bench:
    """The night's windows, newest first, and what the newest one's users did."""

    lake: Lake
    windows: Sequence[Window]
    parameters: Parameters
    seeds: int

    def examples(self, without: str | None = None) -> list[Examples]:
        """Return the examples of each window, drawn again."""
        facts = required_facts(self.parameters.ranking.head_weight.positive())
        return [
            examples_of(self._drawn(window, without), facts, load_shown(window.lake, window.ds))
            for window in self.windows
        ]

    def _drawn(self, window: Window, without: str | None) -> pa.Table:
        shard = ExampleShard(window.lake, window.ds, **candidate_parameters(self.parameters), without=without)
        return pa.Table.from_batches([batch for number in range(SHARDS) for batch in shard(number)])

    def rankers(self, learned: Sequence[Examples]) -> list[Ranker]:
        """Return a ranker a seed; the oldest of the windows calibrates, if the night's does."""
        calibrates = self.windows[-1].calibrates
        taught, apart = (learned[:-1], learned[-1]) if calibrates else (learned, None)
        seeds = range(self.parameters.seed, self.parameters.seed + self.seeds)
        return [train(taught, self.parameters.with_values({"seed": seed}), apart) for seed in seeds]


@dataclass(frozen=True)
class _Judged:
    """A ranker's lists as the asked users took them: the metrics, and each user's values, means over the seeds."""

    metrics: dict[str, dict[str, float]]
    values: dict[str, dict[str, Values]]
    diversity: float

    @classmethod
    def mean(cls, scored: Sequence[ListScores], diversity: Sequence[float]) -> "_Judged":
        values = {
            kind: {name: np.mean([of.values[kind][name] for of in scored], axis=0) for name in names}
            for kind, names in scored[0].values.items()
        }
        metrics = {kind: {name: float(of.mean()) for name, of in names.items()} for kind, names in values.items()}
        return cls(metrics, values, float(np.mean(diversity)))


def ablation(lake: Lake, ds: date, parameters: Parameters, seeds: int = SEEDS) -> dict[str, Any]:
    """Return the whole ranker's metrics, and what each piece's removal adds to them (a loss is below zero).

    Intervals are 95% bootstraps over users of the paired differences.

    Raises:
        AblationError: the night learned from fewer than two windows, or was not run.
    """
    bench = _Bench(lake, _windows_of(lake, ds), parameters, seeds)
    newest = bench.windows[0]
    catalogue = load_catalogue(newest.lake, newest.ds)
    vectors = newest.lake.array(CONTENT, newest.ds, "item_vectors")
    examples = bench.examples()
    rankers = bench.rankers(examples[1:])
    user_id = examples[0].user_id
    judge = _Judge(outcome_of(newest, user_id, catalogue), user_id, catalogue, vectors, parameters)
    whole = judge(examples[0], rankers)
    told: dict[str, Any] = {}
    for kind, name, without in _pieces(bench, examples, rankers):
        told.setdefault(kind, {})[name] = _difference(judge(*without()), whole)
    has_mmr = parameters.shelves.blend.mmr_lambda < 1
    name, mmr_lambda = ("MMR", 1.0) if has_mmr else (f"(with MMR at {MMR_LAMBDA:g})", MMR_LAMBDA)
    other = replace(judge, parameters=parameters.with_values({"shelves.blend.mmr_lambda": mmr_lambda}))(
        examples[0], rankers
    )
    told["blend"] = {name: _difference(other, whole)}
    if any(ranker.coarse is not None for ranker in rankers):
        cut = replace(judge, keep=coarse_keep(parameters))(examples[0], rankers)
        told["coarse cut"] = {f"(with {coarse_keep(parameters)} a user kept)": _difference(cut, whole)}
    return dict(
        rounded(
            {
                "window": {"as_of": str(newest.ds), "horizon_days": parameters.training.horizon_days},
                "learned_from": [str(window.ds) for window in bench.windows[1:] if not window.calibrates],
                "seeds": seeds,
                "n_users": {kind: len(of[f"recall@{K}"]) for kind, of in whole.values.items()},
                "metrics": whole.metrics,
                "diversity": whole.diversity,
                "without": told,
            }
        )
    )


def _windows_of(lake: Lake, ds: date) -> list[Window]:
    windows = read_windows(lake, ds)
    if len(windows) < 2:
        raise AblationError(
            f"runs/ds={ds} knows {len(windows)} label windows, and what learned from one is judged by another; "
            f"run topshelf nightly --ds {ds} on a shop of at least two horizons and "
            "training.windows.min_history_days of events"
        )
    return windows


Piece = tuple[str, str, Callable[[], tuple[Examples, Sequence[Ranker]]]]


def _pieces(bench: _Bench, examples: Sequence[Examples], rankers: Sequence[Ranker]) -> Iterator[Piece]:
    """Yield (kind, name, what gives the newest window's examples and the rankers without it)."""

    def no_source(name: str) -> tuple[Examples, Sequence[Ranker]]:
        drawn = bench.examples(name)
        return drawn[0], bench.rankers(drawn[1:])

    def no_features(names: Sequence[str]) -> tuple[Examples, Sequence[Ranker]]:
        blind = [_blind(of, names) for of in examples]
        return blind[0], bench.rankers(blind[1:])

    def no_head(name: str) -> tuple[Examples, Sequence[Ranker]]:
        return examples[0], [_without_head(ranker, name) for ranker in rankers]

    heads = list(rankers[0].boosters)
    brought = np.bitwise_or.reduce(examples[0].sources, initial=0)
    names = [name for code, name in enumerate(SOURCES) if brought >> code & 1]
    steps: list[Piece] = [("source", name, partial(no_source, name)) for name in names]
    steps += [("features", name, partial(no_features, of)) for name, of in FEATURE_GROUPS.items()]
    if len(heads) > 1:
        steps += [("head", name, partial(no_head, name)) for name in heads]
    yield from track(steps, "without each piece")


def _blind(examples: Examples, names: Sequence[str]) -> Examples:
    """Return the examples with columns that say nothing."""
    features = examples.features.copy()
    features[:, [FEATURES.index(name) for name in names]] = np.nan
    return replace(examples, features=features)


def _without_head(ranker: Ranker, name: str) -> Ranker:
    """Return the ranker without one head; without its last probability, the order head's own score is the value."""
    if name == ORDER:
        return replace(ranker, order=None)
    left = {term: weight for term, weight in ranker.weights.items() if name not in TERMS[term]}
    return replace(ranker, weights=left)


@dataclass(frozen=True)
class _Judge:
    """Lays the newest window's users' candidates out by value and holds them against what they did."""

    outcome: Outcome
    user_id: pa.Array
    """The users of `outcome`; one who is left without candidates has an empty list."""
    catalogue: Catalogue
    item_vectors: npt.NDArray[np.float32]
    parameters: Parameters
    keep: int | None = None
    """So many of a user's candidates are left by the coarse cut; None for all, which is what it is judged by."""

    def __call__(self, of: Examples, rankers: Sequence[Ranker]) -> _Judged:
        number = pc.index_in(of.user_id, value_set=self.user_id).to_numpy().astype(np.int64)
        asked = HeldOutCandidates(number[of.user], of.item, of.features, of.labels, len(self.user_id))
        scored, diversity = [], []
        for ranker in rankers:
            left = self._left(asked, ranker)
            lists = left.lists(left.ranks_in(self._order(left, ranker)))
            scored.append(self.outcome.score(lists))
            diversity.append(intra_list_diversity(lists[:, :K], self.item_vectors))
        return _Judged.mean(scored, diversity)

    def _left(self, asked: HeldOutCandidates, ranker: Ranker) -> HeldOutCandidates:
        if self.keep is None or ranker.coarse is None:
            return asked
        score = ranker.coarse_score(asked.features[:, [FEATURES.index(name) for name in COARSE_FEATURES]])
        rows = coarse_cut(score, asked.user, asked.item, self.keep)
        labels = {name: label[rows] for name, label in asked.labels.items()}
        return HeldOutCandidates(asked.user[rows], asked.item[rows], asked.features[rows], labels, asked.n_users)

    def _order(self, asked: HeldOutCandidates, ranker: Ranker) -> npt.NDArray[np.int64]:
        value = ranker.value(asked.features, self.parameters.ranking.threads)
        by_value = np.lexsort((asked.item, -value, asked.user))
        blend = self.parameters.shelves.blend
        how = Blend(blend.mmr_lambda, blend.places, blend.max_per.caps())
        return blended(asked.user, asked.item, value, by_value, self.catalogue, self.item_vectors, how)


def _difference(without: _Judged, whole: _Judged) -> dict[str, Any]:
    """Return what the metrics gain without the piece, each with its interval over the same users."""
    told: dict[str, Any] = {"diversity": without.diversity - whole.diversity}
    for kind, names in whole.values.items():
        gained = {name: without.values[kind][name] - of for name, of in names.items()}
        told[kind] = {name: float(of.mean()) for name, of in gained.items()}
        told[f"{kind}_interval"] = intervals(gained)
    return told


def ablation_path(ds: date) -> str:
    """Return where the ablation of a night stands in the lake."""
    return f"marts/evaluation/ds={ds}/ablation.json"


def print_ablation(said: Mapping[str, Any]) -> None:
    """Print one line a piece: what is gained or lost without it; an asterisk where the interval leaves nought out."""
    table = Table(title=f"Users of the {said['window']['horizon_days']} days after {said['window']['as_of']}")
    table.title_justify = "left"
    for place, heading in enumerate(("without", *HEADINGS)):
        table.add_column(heading, justify="right" if place else "left", no_wrap=True)
    whole = [f"{said['metrics'][kind][metric]:.4f} " for kind, metric in HEADLINE]
    table.add_row("nothing", *whole, style="bold", end_section=True)
    for kind, pieces in said["without"].items():
        for place, (name, of) in enumerate(pieces.items(), start=1):
            cells = [_cell(of[which][metric], of[f"{which}_interval"][metric]) for which, metric in HEADLINE]
            table.add_row(f"{kind} {name}", *cells, end_section=place == len(pieces))
    console = Console(width=max(Console().width, WIDTH), highlight=False)
    console.print(table)
    users = said["n_users"]
    console.print(
        f"{users['all']:,} users, {users['new']:,} with something new; seeds a line: {said['seeds']}; "
        f"learned from {', '.join(said['learned_from'])}; *: the 95% interval leaves nought out"
    )


def _cell(gained: float, interval: Sequence[float]) -> str:
    return f"{gained:+.4f}" + ("*" if interval[0] > 0 or interval[1] < 0 else " ")


def print_command(lake_root: str, ds: date, parameters: Parameters, seeds: int) -> None:
    """Run the ablation of one night, keep it in the lake, and print it.

    Raises:
        AblationError, MissingPartitionError: the night was not run, or learned from too little.
    """
    lake = Lake(lake_root)
    said = ablation(lake, ds, parameters, seeds)
    lake.put_json(ablation_path(ds), said)
    print_ablation(said)
    print(f"{lake_root}/{ablation_path(ds)}")
