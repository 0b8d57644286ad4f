"""Tell what shelves are truly worth in a synthetic shop: `marts/evaluation/ds=<day>/true_value.json`, and a table.

    topshelf true-value --ds 2026-03-17 --truth data/truth --lake data/lake

The value of an item to a shopper is the chance that it is bought once it is looked at, which the shop's truth knows
of every pair, shown or not. A list's value is the sum over its first k items that can be bought on the day after
`ds`, when it is served; what cannot is left out of every list alike, as the endpoint does. Its share is the mean
value over the mean of the best lists that there could be. Beside the shelf stand the baselines of
`jobs.evaluation.baselines`, and the policy that filled the shop's own shelves before (ten places, so it is compared
with the first ten of all).

Shoppers are apart by what is known of them: cold ones have signed up and done nothing, and get the fallback shelves
of their region and age band; new, light and heavy ones are those of `jobs.evaluation.segments`. New items are those
of NEW_ITEM_DAYS; their share is of the best lists of new items alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console
from rich.table import Table

from jobs.config.settings import Settings
from jobs.evaluation.evaluate import shelf_lists, split_baselines
from jobs.evaluation.segments import USER_SEGMENTS, user_segments
from jobs.evaluation.time_split import all_visible, read_events
from jobs.features.catalogue import NEW_ITEM_DAYS
from jobs.lake.lake import Lake
from jobs.numeric.arrays import Positions
from jobs.numeric.list_metrics import K, intervals, rounded
from jobs.synthetic.catalogue import Shop, is_available, item_ids, items_of, user_ids
from jobs.synthetic.draws import Floats, Ints
from jobs.synthetic.exposures import PLACES, policy_shelves
from jobs.synthetic.shoppers import Shoppers, shoppers
from jobs.synthetic.truth import best_lists, day_number, item_numbers, list_values, read_shop, user_numbers
from jobs.synthetic.words import AGE_BANDS, REGIONS

USERS = 1_000
"""Known shoppers, and cold ones, are sampled beyond so many: the best list takes the whole catalogue for each."""
SEED = 20260101
CUTS = (PLACES, K)
GROUPS = ("all", *USER_SEGMENTS, "cold")
POLICY = "logging policy"


@dataclass(frozen=True)
class Judged:
    """Shoppers, their group (an index into GROUPS), and lists of item numbers [n, length] by name, -1 for none."""

    people: Shoppers
    group: Ints
    lists: dict[str, Ints]


def true_value_path(ds: date) -> str:
    """Return where the true values of a day's shelves stand in the lake."""
    return f"marts/evaluation/ds={ds}/true_value.json"


def true_value(lake: Lake, ds: date, truth: Path, *, users: int = USERS) -> dict[str, Any]:
    """Return what the shelves of `ds` are worth, write it into the lake.

    Raises:
        NoTruthError: the folder holds no synthetic shop's truth.
        EvaluationError: that day has no shelves.
        ValueError: a user or an item is not of that shop.
    """
    shop = read_shop(truth)
    on = day_number(shop, min(ds + timedelta(days=1), shop.last_day))
    known, cold = _known(lake, ds, shop, users), _cold(lake, ds, shop, on, users)
    said = {
        "day": str(shop.day(on)),
        "groups": _by_group(shop, [known, cold], on),
        "new_items": _of_new_items(shop, known, on),
    }
    said = dict(rounded(said))
    lake.put_json(true_value_path(ds), said)
    return said


def _sample(ids: pa.Array, most: int) -> pa.Array:
    """Return at most so many ids, the same ones each time."""
    ids = ids.cast(pa.string()).take(pc.sort_indices(ids.cast(pa.string())))
    if len(ids) <= most:
        return ids
    return ids.take(pa.array(np.sort(np.random.default_rng(SEED).choice(len(ids), most, replace=False))))


def _known(lake: Lake, ds: date, shop: Shop, most: int) -> Judged:
    """Return shoppers with events and a shelf, with the shelf and every baseline."""
    owners, items, lists = shelf_lists(lake, ds)
    events = read_events(lake, ds)
    asked = _sample(owners.filter(pc.is_in(owners.cast(pa.string()), value_set=events.user_ids)), most)
    split = all_visible(events, ds, asked)
    rows = pc.index_in(asked, value_set=owners.cast(pa.string())).to_numpy(False)
    found = {"shelf": _as_numbers(shop, items, lists[rows])}
    # Twice as long as needed, since what cannot be bought is left out.
    for name, positions in split_baselines(split, k=2 * K)[0].items():
        found[name] = _as_numbers(shop, split.item_ids, positions)
    people = shoppers(shop, user_numbers(shop, asked.to_pylist()))
    return Judged(people, user_segments(split) + GROUPS.index(USER_SEGMENTS[0]), found)


def _as_numbers(shop: Shop, ids: pa.Array, positions: Positions) -> Ints:
    """Return item numbers for positions among `ids`; -1 stays."""
    numbers = item_numbers(shop, ids.cast(pa.string()).to_pylist())
    return np.where(positions >= 0, numbers[np.maximum(positions, 0)], -1)


def _cold(lake: Lake, ds: date, shop: Shop, on: int, most: int) -> Judged:
    """Return shoppers who have signed up and done nothing, with the fallback shelves of their region and age band."""
    everybody = shoppers(shop, np.arange(shop.users))
    signed_up = user_ids(np.flatnonzero(everybody.signup_day < on))
    seen = read_events(lake, ds).user_ids
    asked = _sample(pa.array([user for user in signed_up if user not in set(seen.to_pylist())], pa.string()), most)
    people = shoppers(shop, user_numbers(shop, asked.to_pylist()))
    table = lake.arrow("marts/fallback", ds, ["shelf", "shelf_key", "rank", "item_id"]).sort_by("rank")
    shelf = {
        (kind, key): item_numbers(shop, _items_of(table, kind, key))
        for kind, keys in (("region", REGIONS), ("age_band", AGE_BANDS), ("global", ("",)))
        for key in keys
    }
    own = [
        _taking_turns(shelf["region", REGIONS[region]], shelf["age_band", AGE_BANDS[band]], shelf["global", ""])
        for region, band in zip(people.region.tolist(), people.age_band.tolist(), strict=True)
    ]
    everyone = np.tile(shelf["global", ""], (len(own), 1))
    return Judged(people, np.full(len(own), GROUPS.index("cold")), {"shelf": _padded(own), "popular": everyone})


def _items_of(table: pa.Table, kind: str, key: str) -> list[str]:
    rows = table.filter(pc.and_(pc.equal(table["shelf"], kind), pc.equal(table["shelf_key"], key)))
    return list(rows["item_id"].to_pylist())


def _taking_turns(first: Ints, second: Ints, rest: Ints) -> Ints:
    """Return items of two lists in turns, then the rest, each item once."""
    n = min(len(first), len(second))
    turns = np.stack([first[:n], second[:n]], axis=1).ravel()
    merged = np.concatenate([turns, first[n:], second[n:], rest])
    return merged[np.sort(np.unique(merged, return_index=True)[1])]


def _padded(rows: Sequence[Ints]) -> Ints:
    padded = np.full((len(rows), max((len(row) for row in rows), default=1)), -1, dtype=np.int64)
    for number, row in enumerate(rows):
        padded[number, : len(row)] = row
    return padded


def served(shop: Shop, lists: Ints, on: int, only: Ints | None = None) -> Ints:
    """Return the first K items of each list that can be bought that day, of `only` where it is said; -1 pads."""
    items = np.arange(shop.items)
    good = is_available(shop, items_of(shop), items, np.full(shop.items, on))
    if only is not None:
        good &= np.isin(items, only)
    gone = (lists < 0) | ~good[np.maximum(lists, 0)]
    order = np.argsort(gone, axis=1, kind="stable")
    kept = np.where(np.take_along_axis(gone, order, 1), -1, np.take_along_axis(lists, order, 1))[:, :K]
    return np.pad(kept, ((0, 0), (0, K - kept.shape[1])), constant_values=-1)


def _values(shop: Shop, judged: Judged, on: int, only: Ints | None = None) -> dict[str, Floats]:
    """Return each list's values by place [n, K]; `best` is the best there could be."""
    found = {"best": best_lists(shop, judged.people, on, K, only)[1]}
    for name, lists in judged.lists.items():
        found[name] = list_values(shop, judged.people, served(shop, lists, on, only), on)
    if only is None:
        found[POLICY] = list_values(shop, judged.people, policy_shelves(shop, judged.people, on), on)
    return found


def _by_group(shop: Shop, parts: Sequence[Judged], on: int) -> dict[str, Any]:
    """Return what the lists are worth to each group: `all` are the known ones."""
    said = {}
    for judged in parts:
        values = _values(shop, judged, on)
        groups = {code: judged.group == code for code in np.unique(judged.group)}
        if GROUPS.index("cold") not in groups:
            groups = {0: np.ones(len(judged.group), dtype=np.bool_), **groups}
        for code, rows in groups.items():
            said[GROUPS[code]] = _told({name: of[rows] for name, of in values.items()})
    return {name: said[name] for name in GROUPS if name in said}


def _told(values: Mapping[str, Floats]) -> dict[str, Any]:
    """Return shares of the best by list and cut, and the shelf's margin over each: [difference, low, high]."""
    best = {cut: values["best"][:, :cut].sum(axis=1) for cut in CUTS}
    told: dict[str, Any] = {
        "n_users": len(values["best"]),
        "best": {f"value@{cut}": float(of.mean()) for cut, of in best.items()},
        "lists": {},
    }
    for name, of in values.items():
        if name == "best":
            continue
        cuts = [cut for cut in CUTS if cut <= of.shape[1]]
        worth = {cut: of[:, :cut].sum(axis=1) for cut in cuts}
        told["lists"][name] = {f"share@{cut}": float(worth[cut].mean() / best[cut].mean()) for cut in cuts}
        if name != "shelf":
            differences = {
                cut: (values["shelf"][:, :cut].sum(axis=1) - worth[cut]) / best[cut].mean() for cut in cuts
            }
            bounds = intervals(differences, seed=SEED)
            told["lists"][name] |= {
                f"margin@{cut}": [float(by.mean()), *bounds[cut]] for cut, by in differences.items()
            }
    return told


def _of_new_items(shop: Shop, known: Judged, on: int) -> dict[str, Any]:
    """Return what lists are worth by their new items alone, and how many of the first K places those have."""
    launched = items_of(shop).launch_day
    new = np.flatnonzero((launched <= on) & (launched > on - NEW_ITEM_DAYS))
    told = _told(_values(shop, known, on, new))
    for name, lists in known.lists.items():
        first = served(shop, lists, on)
        told["lists"][name]["places"] = float(np.isin(first, new).sum() / max((first >= 0).sum(), 1))
    best = best_lists(shop, known.people, on, K)[0]
    told["best"]["places"] = float(np.isin(best, new).mean())
    return told | {"n_items": len(item_ids(new))}


def print_true_value(said: Mapping[str, Any]) -> None:
    """Print the shares of the best as a table, a column a group, and the new items apart."""
    groups: Mapping[str, Any] = said["groups"]
    table = Table(title=f"True value as a share of the best possible, {said['day']}", title_justify="left")
    table.add_column("list", no_wrap=True)
    for name, of in groups.items():
        table.add_column(f"{name}\n{of['n_users']:,}", justify="right")
    table.add_column(f"all, first {PLACES}", justify="right")
    table.add_column(f"new items\n{said['new_items']['n_items']:,}", justify="right")
    names = list(dict.fromkeys(name for of in groups.values() for name in of["lists"]))
    for name in names:
        cells = [_percent(of["lists"].get(name, {}).get(f"share@{K}")) for of in groups.values()]
        cells.append(_percent(groups["all"]["lists"].get(name, {}).get(f"share@{PLACES}")))
        cells.append(_percent(said["new_items"]["lists"].get(name, {}).get(f"share@{K}")))
        table.add_row(name, *cells, style="bold" if name == "shelf" else None, end_section=name == "shelf")
    Console().print(table)


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"


def print_command(settings: Settings, ds: date, truth: Path) -> None:
    """Judge the shelves of a day, print the table, say where the figures are."""
    print_true_value(true_value(Lake(settings.lake), ds, truth))
    print(f"{settings.lake}/{true_value_path(ds)}")
