"""The shelf against the single models of its own night, on two public sets with the settings that every shop gets.

`amazon_cds`: pairs without times, as LightGCN publishes them; recall and NDCG at 20 of the held-out pairs.
`sports_sequences`: Amazon Sports and Outdoors as S3-Rec publishes it, a minute from one item to the next; the last
item is held out, recall and NDCG at 10. Known items are left out, and all others are ranked. A night runs for each of
SEEDS; intervals are 95%, by bootstrap over users. TOPSHELF_DATA names the folder with both sets.
"""

import csv
import gzip
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
import scipy.sparse as sp

from jobs.evaluation.evaluate import shelf_lists
from jobs.lake.lake import Lake
from jobs.lake.tables import CF, ITEM
from jobs.models.als import CfParameters
from jobs.models.fold_in import FoldIn
from jobs.models.follows import MOST_STEPS
from jobs.numeric.arrays import top_columns
from jobs.numeric.list_metrics import intervals
from tests.bench.figures import Figure
from tests.bench.session_lists import SessionNeighbours

DS = date(2026, 1, 31)
SEEDS = (20260101, 7, 11)
MOST_SCORES = 1 << 25
DECAY_STEPS = 5.0

Sequences = list[list[int]]
Values = npt.NDArray[np.float64]
Lists = npt.NDArray[np.int64]
Scorer = Callable[[Lists], Values]


@dataclass(frozen=True)
class PublicSet:
    """Items of each user that are known, in order, and those that are held out."""

    known: Sequences
    held_out: Sequences
    k: int
    has_order: bool

    def land(self, landing: Path) -> None:
        folder = landing / f"events/ds={DS}"
        folder.mkdir(parents=True)
        began = datetime(DS.year, DS.month, DS.day, tzinfo=UTC)
        with (folder / "events.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(("user_id", "item_id", "event_type", "ts"))
            for user, items in enumerate(self.known):
                for place, item in enumerate(items):
                    at = began + timedelta(minutes=place if self.has_order else 0)
                    rows.writerow((f"u{user}", f"i{item}", "purchase", at.isoformat()))
        (folder / "_SUCCESS").touch()


def lines(path: Path) -> Sequences:
    with gzip.open(path, "rt") as file:
        return [[int(number) for number in line.split()] for line in file if line.strip()]


def amazon_cds(data: Path) -> PublicSet:
    train, test = (lines(data / f"amazon_cds/{name}.txt.gz") for name in ("train", "test"))
    held_out = {row[0]: row[1:] for row in test}
    users = [row for row in train if held_out.get(row[0])]
    return PublicSet([row[1:] for row in users], [held_out[row[0]] for row in users], 20, has_order=False)


def sports(data: Path) -> PublicSet:
    rows = [row[1:] for row in lines(data / "sports_sequences/sequences.txt.gz")]
    return PublicSet([row[:-1] for row in rows], [row[-1:] for row in rows], 10, has_order=True)


def night(folder: Path, seed: int) -> None:
    """Run the night up to its shelves, or what another seed changes of it."""
    places = ("--landing", f"{folder}/landing", "--lake", f"{folder}/lake", "--store", f"lmdb://{folder}/store")
    stages = "ingest,features,choose_als,train_cf,train_content,train_towers,item_lists,label_windows,train_ranker"
    command = [
        sys.executable,
        "-m",
        "jobs",
        "nightly",
        "--ds",
        str(DS),
        *places,
        "--stages",
        f"{stages},candidates,rank",
    ]
    environment = os.environ | {"TOPSHELF_PARAMETERS__SEED": str(seed)}
    subprocess.run(command, check=True, capture_output=True, env=environment)


def single_models(lake: Lake, known: sp.csr_matrix, moments: sp.csr_matrix) -> dict[str, Scorer]:
    """The models of the night's own artifact, each over the whole catalogue: they score rows of `known`."""
    n_items = known.shape[1]
    ordered = moments.copy()
    ordered.data = np.exp(-(ordered.data - 1) / DECAY_STEPS)

    def matrix(name: str) -> sp.csr_matrix:
        arrays = tuple(np.array(lake.array(CF, DS, f"{name}_{part}")) for part in ("data", "indices", "indptr"))
        return sp.csr_matrix(arrays, shape=(n_items, n_items))

    chosen = lake.manifest(CF, DS).parameters_as(CfParameters)
    factors = np.array(lake.array(CF, DS, "item_factors"))
    strength = known * np.float32(np.log1p(5.0))  # a purchase
    users = FoldIn(factors, chosen.alpha, chosen.regularization).users(strength.astype(np.float32))
    popular = np.asarray(known.sum(axis=0), dtype=np.float64)
    return {
        "popular": lambda rows: np.tile(popular, (len(rows), 1)),
        "item-kNN, TF-IDF": lambda rows: (known[rows] @ matrix("item_item")).toarray(),
        "ALS, values by held-out pairs": lambda rows: (users[rows] @ factors.T).astype(np.float64),
        "EASE on nearest items": lambda rows: (known[rows] @ matrix("ease")).toarray(),
        "EASE on nearest items, last first": lambda rows: (ordered[rows] @ matrix("ease")).toarray(),
        "session-kNN over shoppers": lambda rows: session_scores(known, moments, rows),
        f"what follows within {MOST_STEPS} moments": lambda rows: (ordered[rows] @ matrix("follows")).toarray(),
    }


def session_scores(known: sp.csr_matrix, moments: sp.csr_matrix, rows: Lists) -> Values:
    """Each user is a session: scores by the sessions of others, the last ones by number, as no one's day is known."""
    neighbours = SessionNeighbours(known)
    own = [moments.indices[slice(*moments.indptr[row : row + 2])] for row in rows.tolist()]
    ago = [moments.data[slice(*moments.indptr[row : row + 2])] for row in rows.tolist()]
    latest_first = [items[np.argsort(places)].tolist() for items, places in zip(own, ago, strict=True)]
    return np.stack([neighbours.scores(seen, row) for seen, row in zip(latest_first, rows.tolist(), strict=True)])


def lists_of(scorer: Scorer, known: sp.csr_matrix, k: int) -> Lists:
    step = max(1, MOST_SCORES // known.shape[1])
    lists = []
    for start in range(0, known.shape[0], step):
        rows = np.arange(start, min(start + step, known.shape[0]))
        scores = scorer(rows)
        scores[known[rows].nonzero()] = -np.inf
        lists.append(top_columns(scores, k))
    return np.concatenate(lists)


def judged(lists: Lists, truth: sp.csr_matrix, sizes: Lists, k: int) -> dict[str, Values]:
    """Recall and NDCG at k of each user; -1 in a list is no item."""
    user = np.arange(len(lists))[:, None]
    hit = np.asarray(truth[user, np.maximum(lists, 0)].todense() > 0) & (lists >= 0)
    gain = 1 / np.log2(np.arange(k) + 2)
    best = np.cumsum(gain)[np.minimum(sizes, k) - 1]
    return {"recall": hit.sum(axis=1) / sizes, "NDCG": (hit * gain).sum(axis=1) / best}


def shelves(lake: Lake, of: PublicSet, position: dict[str, int]) -> Lists:
    """The first k unknown items of each user's shelf, as positions in the catalogue."""
    users, items, shelf = shelf_lists(lake, DS)
    at = np.array([position[item] for item in items.cast(pa.string()).to_pylist()])
    row = {user: number for number, user in enumerate(users.cast(pa.string()).to_pylist())}
    lists = np.full((len(of.known), of.k), -1, dtype=np.int64)
    for user, known in enumerate(of.known):
        own = {position[f"i{item}"] for item in known}
        placed = at[shelf[row[f"u{user}"]]]
        best = [item for item in placed.tolist() if item not in own][: of.k]
        lists[user, : len(best)] = best
    return lists


def figures_of(name: str, of: PublicSet) -> list[Figure]:
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        of.land(folder / "landing")
        lake = Lake(f"{folder}/lake")
        by_seed = []
        for seed in SEEDS:
            night(folder, seed)
            ids = lake.arrow(ITEM, DS, ["item_id", "item_pos"]).sort_by("item_pos")["item_id"]
            position = {item: place for place, item in enumerate(ids.cast(pa.string()).to_pylist())}
            by_seed.append(shelves(lake, of, position))
        known, moments, truth = matrices(of, position)
        sizes = np.array([len(items) for items in of.held_out])
        values = {
            alone: judged(lists_of(scorer, known, of.k), truth, sizes, of.k)
            for alone, scorer in single_models(lake, known, moments).items()
            if of.has_order or not alone.startswith(("what", "session", "EASE on nearest items, last"))
        }
        shelf = [judged(lists, truth, sizes, of.k) for lists in by_seed]
    figures = []
    for metric in ("recall", "NDCG"):
        best = max(values, key=lambda alone: values[alone][metric].mean())
        floor = float(values[best][metric].mean())
        means = [float(one[metric].mean()) for one in shelf]
        low, high = intervals({metric: np.mean([one[metric] for one in shelf], axis=0)})[metric]
        seeds = ", ".join(f"{mean:.4f}" for mean in means)
        what = f"{name}, {metric}@{of.k}: shelf, mean of seeds ({seeds}; 95% {low:.4f} to {high:.4f})"
        figures.append(Figure(what, float(np.mean(means)), "", floor, f"its best single model: {best}"))
        figures += [
            Figure(f"{name}, {metric}@{of.k}: {alone}", float(scores[metric].mean()), "")
            for alone, scores in values.items()
        ]
    return figures


def matrices(of: PublicSet, position: dict[str, int]) -> tuple[sp.csr_matrix, sp.csr_matrix, sp.csr_matrix]:
    """Known pairs, their moments from the last one back, and held-out pairs, [users, catalogue]."""

    def matrix(rows: Sequence[Sequence[int]], values: Sequence[Values]) -> sp.csr_matrix:
        user = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
        item = np.array([position.get(f"i{number}", -1) for row in rows for number in row])
        data, met = np.concatenate(values), item >= 0  # a held-out item may be nobody's known one
        return sp.csr_matrix((data[met], (user[met], item[met])), shape=(len(rows), len(position)))

    ones = [np.ones(len(row)) for row in of.known]
    moments = [np.arange(len(row), 0, -1.0) for row in of.known] if of.has_order else ones
    return (
        matrix(of.known, ones),
        matrix(of.known, moments),
        matrix(of.held_out, [np.ones(len(row)) for row in of.held_out]),
    )


def main() -> list[Figure]:
    if not os.environ.get("TOPSHELF_DATA"):
        pytest.skip("TOPSHELF_DATA does not name the folder of published shop data")
    data = Path(os.environ["TOPSHELF_DATA"])
    return [*figures_of("amazon_cds", amazon_cds(data)), *figures_of("sports_sequences", sports(data))]
