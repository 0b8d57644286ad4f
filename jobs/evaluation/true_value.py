"""Measure the true value of shelves in a synthetic shop: `marts/evaluation/ds=<day>/true_value.json`, and a table.

    topshelf true-value --ds 2026-03-17 --truth data/truth --lake data/lake

The value of an item to a shopper is the chance that it is bought once it is looked at. The synthetic shop's truth has
it for every pair, shown or not. The value of a list is the sum over its first k items that can be bought on the day
after `ds`, when it is served; items that cannot be bought are left out of every list alike, as the endpoint does. Its
share is the mean value over the mean value of the best possible lists. Beside the shelf stand the baselines of
`jobs.evaluation.baselines`, and the policy that filled the shop's own shelves before (with ten places, so it is
compared with the first ten places of the others).

Shoppers are grouped by how much is known of them: cold ones have signed up and done nothing, and get the fallback
shelves of their region and age band; new, light and heavy ones are those of `jobs.evaluation.segments`. New items are
those of the last NEW_ITEM_DAYS; their share is of the best lists of new items alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from rich.table import Table

from jobs.config.terminal import Terminal
from jobs.evaluation.evaluate import shelf_lists, split_baselines
from jobs.evaluation.segments import USER_SEGMENTS, user_segments
from jobs.evaluation.time_split import all_visible, read_events
from jobs.features.catalogue import NEW_ITEM_DAYS
from jobs.lake.evaluations import Bounds, GroupValue, NewItemValue, TrueValue
from jobs.lake.lake import Lake
from jobs.lake.tables import FALLBACK
from jobs.numeric.arrays import Positions
from jobs.numeric.draws import Floats, Ints
from jobs.numeric.list_metrics import K, intervals
from jobs.synthetic.catalogue import Shop, is_available, items_of, user_ids
from jobs.synthetic.exposures import PLACES, policy_shelves
from jobs.synthetic.shoppers import Shoppers, shoppers
from jobs.synthetic.truth import best_lists, day_number, item_numbers, list_values, read_shop, user_numbers
from jobs.synthetic.words import AGE_BANDS, REGIONS

USERS = 1_000
"""Most known shoppers, and most cold ones; more are sampled, as the best list looks at all items for each shopper."""
SEED = 20260101
CUTS = (PLACES, K)
GROUPS = ("all", *USER_SEGMENTS, "cold")
POLICY = "logging policy"


@dataclass(frozen=True)
class GroupedLists:
    """Shoppers, their group (an index into GROUPS), and lists of item numbers [n, length] by name, padded with -1."""

    people: Shoppers
    group: Ints
    lists: dict[str, Ints]


def true_value(lake: Lake, ds: date, truth: Path, *, users: int = USERS) -> TrueValue:
    """Measure what the shelves of `ds` are worth; write the record and return it.

    Raises:
        NoTruthError: the folder holds no synthetic shop's truth.
        EvaluationError: that day has no shelves.
        ValueError: a user or an item is not of that shop.
    """
    shop = read_shop(truth)
    on = day_number(shop, min(ds + timedelta(days=1), shop.last_day))
    known, cold = _known(lake, ds, shop, users), _cold(lake, ds, shop, on, users)
    record = TrueValue(
        day=shop.day(on),
        groups=_group_values(shop, known, cold, on),
        new_items=_new_item_value(shop, known, on),
    ).rounded()
    record.write(lake, ds)
    return record


def _sample(ids: pa.Array, most: int) -> pa.Array:
    """Return at most `most` ids, sorted, the same ones each time."""
    ids = ids.cast(pa.string()).take(pc.sort_indices(ids.cast(pa.string())))
    if len(ids) <= most:
        return ids
    return ids.take(pa.array(np.sort(np.random.default_rng(SEED).choice(len(ids), most, replace=False))))


def _known(lake: Lake, ds: date, shop: Shop, most: int) -> GroupedLists:
    """Return shoppers with events and a shelf, with the shelf and every baseline."""
    owners, items, shelves = shelf_lists(lake, ds)
    events = read_events(lake, ds)
    sample = _sample(owners.filter(pc.is_in(owners.cast(pa.string()), value_set=events.user_ids)), most)
    split = all_visible(events, ds, sample)
    rows = pc.index_in(sample, value_set=owners.cast(pa.string())).to_numpy(False)
    lists = {"shelf": _as_numbers(shop, items, shelves[rows])}
    # Twice as long as needed, since items that cannot be bought are left out.
    for name, positions in split_baselines(split, k=2 * K)[0].items():
        lists[name] = _as_numbers(shop, split.item_ids, positions)
    people = shoppers(shop, user_numbers(shop, sample.to_pylist()))
    return GroupedLists(people, user_segments(split) + GROUPS.index(USER_SEGMENTS[0]), lists)


def _as_numbers(shop: Shop, ids: pa.Array, positions: Positions) -> Ints:
    """Return item numbers for positions among `ids`; -1 stays."""
    numbers = item_numbers(shop, ids.cast(pa.string()).to_pylist())
    return np.where(positions >= 0, numbers[np.maximum(positions, 0)], -1)


def _cold(lake: Lake, ds: date, shop: Shop, on: int, most: int) -> GroupedLists:
    """Return shoppers who have signed up and done nothing, with the fallback shelves of their region and age band."""
    everybody = shoppers(shop, np.arange(shop.users))
    signed_up = user_ids(np.flatnonzero(everybody.signup_day < on))
    active = set(read_events(lake, ds).user_ids.to_pylist())
    sample = _sample(pa.array([user for user in signed_up if user not in active], pa.string()), most)
    people = shoppers(shop, user_numbers(shop, sample.to_pylist()))
    table = lake.arrow(FALLBACK, ds, ["shelf", "shelf_key", "rank", "item_id"]).sort_by("rank")
    fallback = {
        (shelf, key): item_numbers(shop, _fallback_items(table, shelf, key))
        for shelf, keys in (("region", REGIONS), ("age_band", AGE_BANDS), ("global", ("",)))
        for key in keys
    }
    popular = fallback["global", ""]
    rows = [
        interleaved(fallback["region", REGIONS[region]], fallback["age_band", AGE_BANDS[band]], popular)
        for region, band in zip(people.region.tolist(), people.age_band.tolist(), strict=True)
    ]
    lists = {"shelf": _padded(rows), "popular": np.tile(popular, (len(rows), 1))}
    return GroupedLists(people, np.full(len(rows), GROUPS.index("cold")), lists)


def _fallback_items(table: pa.Table, shelf: str, key: str) -> list[str]:
    rows = table.filter(pc.and_(pc.equal(table["shelf"], shelf), pc.equal(table["shelf_key"], key)))
    return list(rows["item_id"].to_pylist())


def interleaved(first: Ints, second: Ints, rest: Ints) -> Ints:
    """Return items of two lists in turns, then all others, each item once."""
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
    """Return the first K items of each list that can be bought on day `on` and are in `only`, if given; -1 pads."""
    items = np.arange(shop.items)
    counts = is_available(shop, items_of(shop), items, np.full(shop.items, on))
    if only is not None:
        counts &= np.isin(items, only)
    gone = (lists < 0) | ~counts[np.maximum(lists, 0)]
    order = np.argsort(gone, axis=1, kind="stable")
    kept = np.where(np.take_along_axis(gone, order, 1), -1, np.take_along_axis(lists, order, 1))[:, :K]
    return np.pad(kept, ((0, 0), (0, K - kept.shape[1])), constant_values=-1)


def _values(shop: Shop, grouped: GroupedLists, on: int, only: Ints | None = None) -> dict[str, Floats]:
    """Return each list's values by place [n, K], with those of the best possible lists as `best`."""
    values = {"best": best_lists(shop, grouped.people, on, K, only)[1]}
    for name, lists in grouped.lists.items():
        values[name] = list_values(shop, grouped.people, served(shop, lists, on, only), on)
    if only is None:
        values[POLICY] = list_values(shop, grouped.people, policy_shelves(shop, grouped.people, on), on)
    return values


def _group_values(shop: Shop, known: GroupedLists, cold: GroupedLists, on: int) -> dict[str, GroupValue]:
    """Return what lists are worth to each group that has shoppers; `all` are all known ones."""
    values = _values(shop, known, on)
    groups = {"all": group_value(values)}
    for code in np.unique(known.group):
        rows = known.group == code
        groups[GROUPS[code]] = group_value({name: places[rows] for name, places in values.items()})
    if len(cold.group):
        groups["cold"] = group_value(_values(shop, cold, on))
    return groups


def group_value(values: Mapping[str, Floats]) -> GroupValue:
    """Return shares of the best by list and cut, and the shelf's margin over each: [difference, low, high].

    `values` are by place [n, length], and include `best` and `shelf`; a list shorter than a cut has no figure for it.
    """
    best = {cut: values["best"][:, :cut].sum(axis=1) for cut in CUTS}
    lists: dict[str, dict[str, float | Bounds]] = {}
    for name, places in values.items():
        if name == "best":
            continue
        cuts = [cut for cut in CUTS if cut <= places.shape[1]]
        worth = {cut: places[:, :cut].sum(axis=1) for cut in cuts}
        lists[name] = {f"share@{cut}": float(worth[cut].mean() / best[cut].mean()) for cut in cuts}
        if name != "shelf":
            differences = {
                cut: (values["shelf"][:, :cut].sum(axis=1) - worth[cut]) / best[cut].mean() for cut in cuts
            }
            bounds = intervals(differences, seed=SEED)
            lists[name] |= {f"margin@{cut}": [float(by.mean()), *bounds[cut]] for cut, by in differences.items()}
    return GroupValue(
        n_users=len(values["best"]),
        best={f"value@{cut}": float(worth.mean()) for cut, worth in best.items()},
        lists=lists,
    )


def _new_item_value(shop: Shop, known: GroupedLists, on: int) -> NewItemValue:
    """Return what lists are worth by their new items alone, and the share of the first K places that those have."""
    launched = items_of(shop).launch_day
    new = np.flatnonzero((launched <= on) & (launched > on - NEW_ITEM_DAYS))
    value = group_value(_values(shop, known, on, new))
    for name, lists in known.lists.items():
        first = served(shop, lists, on)
        value.lists[name]["places"] = float(np.isin(first, new).sum() / max((first >= 0).sum(), 1))
    best = best_lists(shop, known.people, on, K)[0]
    value.best["places"] = float(np.isin(best, new).mean())
    return NewItemValue(n_users=value.n_users, best=value.best, lists=value.lists, n_items=len(new))


def print_true_value(record: TrueValue) -> None:
    """Print the shares of the best as a table with a column for each group, and one for new items."""
    groups, new_items = record.groups, record.new_items
    table = Table(title=f"True value as a share of the best possible, {record.day}", title_justify="left")
    table.add_column("list", no_wrap=True)
    for name, group in groups.items():
        table.add_column(f"{name}\n{group.n_users:,}", justify="right")
    table.add_column(f"all, first {PLACES}", justify="right")
    table.add_column(f"new items\n{new_items.n_items:,}", justify="right")
    for name in dict.fromkeys(name for group in groups.values() for name in group.lists):
        shares = [group.share(name, K) for group in groups.values()]
        shares += [groups["all"].share(name, PLACES), new_items.share(name, K)]
        cells = ["" if share is None else f"{share:.1%}" for share in shares]
        table.add_row(name, *cells, style="bold" if name == "shelf" else None, end_section=name == "shelf")
    Terminal().print(table)


def run_true_value(lake: Lake, ds: date, truth: Path) -> None:
    """Measure the shelves of a day, print the table, and say where the record is."""
    print_true_value(true_value(lake, ds, truth))
    print(f"{lake.root}/{TrueValue.path(ds)}")
