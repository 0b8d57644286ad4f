"""The two towers as the night uses them, in plain NumPy: stored item vectors, and a user tower that folds users in.

`jobs.models.train_towers` trains them with JAX; scoring candidates needs NumPy alone. A shopper's vector is made of
the items that they discovered last and of what is known of them, so a shopper without a history has one too. The
score is the cosine of both vectors: it orders items by how likely the shopper is to discover them next.
"""

import importlib.metadata
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt

from jobs.features.shoppers import ShopperHistories
from jobs.lake.lake import Lake
from jobs.lake.tables import TOWERS
from jobs.numeric.arrays import Floats, Whole

DIMENSIONS = 128
LONGEST = 64
"""At most so many items of a shopper's history are read: those discovered last."""
FADES_DAYS = (60.0, 7.0)
"""A history is read twice. An item touched so many days before the latest one has e^-1 of its weight."""
NUMBERS = 3
"""Numbers that are known of a shopper: see HistoryInputs."""
GROUPS = ("region", "age_band")
"""Columns of features/user that have embeddings."""
ITEM_CODES = ("category", "brand", "own")
"""An item's embeddings: two that it shares with others, and its own."""


def jax_version() -> str | None:
    """Return the version of JAX that is installed, or None."""
    try:
        return importlib.metadata.version("jax")
    except importlib.metadata.PackageNotFoundError:
        return None


@dataclass(frozen=True)
class Discoveries:
    """When shoppers discovered items: flat pairs in order of (user, days since the first event, item).

    `indptr[u]:indptr[u + 1]` are the pairs of user u. An impression alone is no discovery.
    """

    user: Whole
    item: npt.NDArray[np.int32]
    first: Floats
    """Days since the pair's first event."""
    last: Floats
    """Days since the pair's last event."""
    indptr: Whole

    @classmethod
    def from_history(cls, user: Whole, history: Mapping[str, npt.NDArray[Any]], n_users: int) -> "Discoveries":
        """Return the discoveries in columns of features/user_item; `user` is the number of each row's shopper."""
        rows = np.flatnonzero(history["weight_milli"] > 0)
        first, item = history["days_since_first_event"][rows], history["item_pos"][rows]
        rows = rows[np.lexsort((item, first, user[rows]))]
        return cls(
            user=user[rows].astype(np.int64),
            item=history["item_pos"][rows].astype(np.int32),
            first=history["days_since_first_event"][rows].astype(np.float32),
            last=history["days_since_last_event"][rows].astype(np.float32),
            indptr=np.searchsorted(user[rows], np.arange(n_users + 1)).astype(np.int64),
        )


@dataclass(frozen=True)
class HistoryInputs:
    """What the user tower reads of n histories."""

    item: npt.NDArray[np.int32]
    """[n, LONGEST]; 0 beyond a history's end."""
    weight: Floats
    """[len(FADES_DAYS), n, LONGEST]: each history's weights add up to 1, or to 0 without a history."""
    numbers: Floats
    """[n, NUMBERS]: whether there is a history, how many items it has, and how long ago it ended."""


def read_histories(discoveries: Discoveries, start: Whole, end: Whole, ago: Floats) -> HistoryInputs:
    """Read each history as it stood on the eve of the day `ago` days before the last one.

    A history is the pairs `start:end`, all discovered before that day. A pair touched on that day or later counts as
    last touched at its first event.
    """
    pair = start[:, None] + np.arange(LONGEST)
    there = pair < end[:, None]
    pair = np.minimum(pair, max(len(discoveries.item) - 1, 0))
    if not len(discoveries.item):
        item, weight = np.zeros(there.shape, np.int32), np.zeros((len(FADES_DAYS), *there.shape), np.float32)
        return HistoryInputs(item, weight, _numbers(end - start, np.zeros(len(start), np.float32)))
    first, last = discoveries.first[pair] - ago[:, None], discoveries.last[pair] - ago[:, None]
    age = np.where(there, np.where(last > 0, last, first), np.inf).astype(np.float32)
    youngest = np.where(end > start, age.min(axis=1), 0).astype(np.float32)
    weights = [np.exp((youngest[:, None] - age) / np.float32(fades)) for fades in FADES_DAYS]
    weights = [weight / np.maximum(weight.sum(axis=1, keepdims=True), np.float32(1e-9)) for weight in weights]
    item = np.where(there, discoveries.item[pair], 0).astype(np.int32)
    return HistoryInputs(item, np.stack(weights).astype(np.float32), _numbers(end - start, youngest))


def _numbers(count: Whole, youngest: Floats) -> Floats:
    """Return the `numbers` of HistoryInputs."""
    columns = np.stack([count > 0, np.log1p(count), np.log1p(youngest)], axis=1)
    return columns.astype(np.float32)


def group_codes(users: Mapping[str, npt.NDArray[Any]], names: Mapping[str, list[str]]) -> npt.NDArray[np.int32]:
    """Return [n, len(GROUPS)]: the place of each shopper's group in `names`, from 1; 0 for another or none."""
    columns = []
    for group in GROUPS:
        code_of = {name: code for code, name in enumerate(names[group], start=1)}
        columns.append([code_of.get(name, 0) for name in users[group].tolist()])
    return np.array(columns, dtype=np.int32).T


@dataclass(frozen=True)
class Towers:
    """One day's artifact."""

    item_vectors: Floats
    """[n_items, DIMENSIONS], rows of unit length."""
    user: Mapping[str, Floats]
    """The user tower's weights by name."""
    groups: Mapping[str, list[str]]
    """The names of regions and age bands that have an embedding, by GROUPS."""

    def vectors(self, shoppers: ShopperHistories) -> Floats:
        """Return [n_users, DIMENSIONS]: each shopper's vector as of the day."""
        discoveries = Discoveries.from_history(shoppers.history_user(), shoppers.history, len(shoppers))
        # The night stands on the eve of tomorrow.
        tomorrow = np.full(len(shoppers), -1, dtype=np.float32)
        history = read_histories(discoveries, discoveries.indptr[:-1], discoveries.indptr[1:], tomorrow)
        return self.user_tower(history, group_codes(shoppers.users, self.groups))

    def user_tower(self, history: HistoryInputs, groups: npt.NDArray[np.int32]) -> Floats:
        """Return [n, DIMENSIONS]: a weighted sum of the mean item vectors, plus the output of a hidden layer."""
        gathered = self.item_vectors[history.item]
        means = [np.einsum("bl,bld->bd", weight, gathered) for weight in history.weight]
        embedded = [self.user[group][groups[:, column]] for column, group in enumerate(GROUPS)]
        known = np.concatenate([*means, history.numbers, *embedded], axis=1)
        hidden = np.maximum(known @ self.user["hidden"] + self.user["hidden_bias"], 0)
        out = hidden @ self.user["out"] + self.user["out_bias"]
        out += sum(share * mean for share, mean in zip(self.user["mix"], means, strict=True))
        return smoothed_unit_rows(out)


def item_tower(weights: Mapping[str, Any], content: Any, embedded: Mapping[str, Any]) -> Any:
    """Return the item tower's output, not yet of unit length; takes arrays of NumPy as well as of JAX."""
    return content @ weights["content"] + sum(embedded[name] for name in ITEM_CODES)


def smoothed_unit_rows(rows: Floats) -> Floats:
    """Return the rows scaled to about unit length, exactly as training in JAX does; a row of zeros stays."""
    return np.asarray(rows / np.sqrt((rows * rows).sum(axis=1, keepdims=True) + 1e-6), dtype=np.float32)


def load_towers(lake: Lake, ds: date) -> Towers | None:
    """Load the towers as of `ds`, or None where they were left out.

    Raises:
        MissingPartitionError: the stage `train_towers` has not run.
    """
    files = lake.manifest(TOWERS, ds).files
    if "item_vectors.npy" not in files:
        return None
    weights = {name[5:-4] for name in files if name.startswith("user_")}
    return Towers(
        item_vectors=lake.array(TOWERS, ds, "item_vectors"),
        user={name: lake.array(TOWERS, ds, f"user_{name}") for name in sorted(weights)},
        groups=json.loads(lake.text(TOWERS, ds, "groups.json")),
    )
