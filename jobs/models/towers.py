"""The two towers as the night uses them, in plain NumPy: item vectors that are kept, and a user tower that folds in.

`jobs.models.train_towers` trains them, which takes JAX; whoever draws candidates needs none. A shopper's vector is
made of the items that they came upon last and of what is known of them, so somebody without a history has one as
well. Score is the cosine of both vectors: it orders items by how likely they are to be what the shopper comes upon
next.
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
"""So many items of a shopper's history are read, those found last."""
FADES_DAYS = (60.0, 7.0)
"""A history is read twice: an item counts e^-1 when it was touched so long before the latest one."""
NUMBERS = 3
GROUPS = ("region", "age_band")
ITEM_CODES = ("category", "brand", "own")
"""What an item has an embedding for: two that it shares with others, and its own."""


def jax_version() -> str | None:
    """Return the version of JAX that is installed, or None."""
    try:
        return importlib.metadata.version("jax")
    except importlib.metadata.PackageNotFoundError:
        return None


@dataclass(frozen=True)
class Discoveries:
    """When shoppers came upon items: flat pairs in order of (user, days since the first event, item).

    `indptr[u]:indptr[u + 1]` are the pairs of user u; an impression alone makes none.
    """

    user: Whole
    item: npt.NDArray[np.int32]
    first: npt.NDArray[np.float32]
    """Days since the pair's first event."""
    last: npt.NDArray[np.float32]
    """Days since its last."""
    indptr: Whole

    @classmethod
    def of(cls, user: Whole, history: Mapping[str, npt.NDArray[Any]], n_users: int) -> "Discoveries":
        """Read columns of features/user_item; `user` numbers the shopper of each row."""
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
class Read:
    """Histories as of days: [n, LONGEST] items, [2, n, LONGEST] weights that add up to 1 or 0, [n, NUMBERS]."""

    item: npt.NDArray[np.int32]
    weight: Floats
    numbers: Floats


def read(found: Discoveries, start: Whole, end: Whole, ago: Floats) -> Read:
    """Read the pairs start:end of each row as they stood on the eve of a day `ago` days before the last one.

    All of them were found before that day. What was touched on it or later counts as of its first event.
    """
    at = start[:, None] + np.arange(LONGEST)
    there = at < end[:, None]
    at = np.minimum(at, max(len(found.item) - 1, 0))
    if not len(found.item):
        nothing = np.zeros((2, *there.shape), np.float32)
        return Read(np.zeros(there.shape, np.int32), nothing, _numbers(end - start, np.zeros(len(start), np.float32)))
    first, last = found.first[at] - ago[:, None], found.last[at] - ago[:, None]
    age = np.where(there, np.where(last > 0, last, first), np.inf).astype(np.float32)
    youngest = np.where(end > start, age.min(axis=1), 0).astype(np.float32)
    weights = [np.exp((youngest[:, None] - age) / np.float32(fades)) for fades in FADES_DAYS]
    weights = [weight / np.maximum(weight.sum(axis=1, keepdims=True), np.float32(1e-9)) for weight in weights]
    item = np.where(there, found.item[at], 0).astype(np.int32)
    return Read(item, np.stack(weights).astype(np.float32), _numbers(end - start, youngest))


def _numbers(count: Whole, youngest: Floats) -> Floats:
    """Return what is known of a shopper in numbers: whether there is a history, how long, how long ago it ended."""
    columns = np.stack([count > 0, np.log1p(count), np.log1p(youngest)], axis=1)
    return columns.astype(np.float32)


def group_codes(users: Mapping[str, npt.NDArray[Any]], names: Mapping[str, list[str]]) -> npt.NDArray[np.int32]:
    """Return [n, len(GROUPS)]: a shopper's region and age band as places in `names` from 1, 0 for another or none."""
    columns = []
    for group in GROUPS:
        place = {name: code for code, name in enumerate(names[group], start=1)}
        columns.append([place.get(name, 0) for name in users[group].tolist()])
    return np.array(columns, dtype=np.int32).T


@dataclass(frozen=True)
class Towers:
    """One day's artifact.

    `item_vectors` is [n_items, DIMENSIONS], rows of unit length; `user` holds the user tower's weights
    by name, `groups` the names of regions and age bands that have an embedding.
    """

    item_vectors: Floats
    user: Mapping[str, Floats]
    groups: Mapping[str, list[str]]

    def vectors(self, shoppers: ShopperHistories) -> Floats:
        """Return [n_users, DIMENSIONS]: the user tower at each shopper as of the day."""
        found = Discoveries.of(shoppers.history_user(), shoppers.history, len(shoppers))
        # The night stands on the eve of tomorrow.
        tomorrow = np.full(len(shoppers), -1, dtype=np.float32)
        history = read(found, found.indptr[:-1], found.indptr[1:], tomorrow)
        return self.of(history, group_codes(shoppers.users, self.groups))

    def of(self, history: Read, groups: npt.NDArray[np.int32]) -> Floats:
        """Return the user tower at what was read: two means of item vectors, and a hidden layer beside them."""
        gathered = self.item_vectors[history.item]
        means = [np.einsum("bl,bld->bd", weight, gathered) for weight in history.weight]
        embedded = [self.user[group][groups[:, column]] for column, group in enumerate(GROUPS)]
        known = np.concatenate([*means, history.numbers, *embedded], axis=1)
        hidden = np.maximum(known @ self.user["hidden"] + self.user["hidden_bias"], 0)
        out = hidden @ self.user["out"] + self.user["out_bias"]
        out += sum(share * mean for share, mean in zip(self.user["mix"], means, strict=True))
        return smoothed_unit_rows(out)


def item_tower(weights: Mapping[str, Any], content: Any, embedded: Mapping[str, Any]) -> Any:
    """Return the item tower before its rows are made unit length, of NumPy's arrays as of JAX's."""
    return content @ weights["content"] + sum(embedded[name] for name in ITEM_CODES)


def smoothed_unit_rows(rows: Floats) -> Floats:
    """Return rows of about unit length, as training in JAX makes them; a row of zeros stays."""
    return np.asarray(rows / np.sqrt((rows * rows).sum(axis=1, keepdims=True) + 1e-6), dtype=np.float32)


def load_towers(lake: Lake, ds: date) -> Towers | None:
    """Load the towers as of `ds`, or None where they were left out.

    Raises:
        MissingPartitionError: the stage has not run.
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
