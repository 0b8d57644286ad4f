"""What one night has to publish, read from the lake."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import fs

from jobs.candidates.eligibility import load_eligibility
from jobs.experiments.running import NO_EXPERIMENTS, RunningExperiments
from jobs.lake.evaluations import Holdout, OffPolicy
from jobs.lake.filesystems import filesystem_of
from jobs.lake.lake import Lake
from jobs.lake.tables import (
    CF,
    CONTENT,
    EXPLORATION,
    FALLBACK,
    ITEM,
    ITEM_LISTS,
    RANKER,
    SHARDS,
    SHOPPER_LISTS,
    TOP_N,
    USER_TABLES,
    USUAL_PRICE,
)
from jobs.landing.tombstones import erased_users, without
from jobs.publishing.filled_neighbours import Neighbours, filled_up
from jobs.publishing.own_list_columns import LIST_COLUMNS, NO_LISTS
from jobs.publishing.snapshot_columns import POPULARITY
from serving.snapshot.contents import ITEM_LISTS as SNAPSHOT_LISTS
from serving.snapshot.tombstones import Tombstones

SHELF_COLUMNS = ["variant", "user_id", "rank", "item_id", "score", "source", "reason_code", "reason_item_id"]
SHELF_TEXTS = ["variant", "user_id", "item_id", "source", "reason_code", "reason_item_id"]
USER_COLUMNS = ("user_id", "region", "age_band", "preferred_categories")
ITEM_COLUMNS = ("item_pos", "item_id", "title", "category", "brand", "seller_id", "image_url", "price_minor", "stock")
POLICY_VERSION = "ranked-fill-1"
FEWEST_SIMILAR = 20
"""In a shop with vectors of its own, so many similar items an item has at least, if content knows as many."""


class TopNParameters(msgspec.Struct, frozen=True):
    """What the manifest of marts/top_n says of how it was made, as far as a snapshot needs it."""

    top_n: int = 100
    run_id: str = ""
    rules: dict[str, object] = {}
    experiments: dict[str, object] = {}


def no_lists(shard: int) -> pa.Table:
    """Return the rows of marts/shopper_lists of a night without any."""
    return NO_LISTS


class EmbeddingWeight(msgspec.Struct, frozen=True):
    """What the manifest of artifacts/content says of the shop's own vectors."""

    embedding_weight: float = 0.0


class OtherExperimentsError(ValueError):
    """The night's shelves were ranked for other experiments than those that are to be published."""


@dataclass(frozen=True)
class NightContents:
    """What one night publishes."""

    ds: date
    run_id: str
    items: pa.Table
    fallback: pa.Table
    neighbours: tuple[NDArray[Any], NDArray[Any], NDArray[Any]]
    """A CSR matrix of items x items: indptr, positions, scores."""
    shelves: Callable[[int], pa.Table]
    """Returns marts/top_n of one user shard, sorted by the grain."""
    users: Callable[[int], pa.Table]
    """Returns all users of one user shard, with or without a shelf."""
    n_shards: int
    top_n: int
    model_version: str = ""
    policy_version: str = ""
    expected_users: int = 0
    """Roughly how many users have a shelf; it sets the size of the sample that is read back."""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    own_lists: Callable[[int], pa.Table] = no_lists
    """Returns marts/shopper_lists of one user shard."""
    exploration: pa.Table | None = None
    experiments: RunningExperiments = NO_EXPERIMENTS
    item_lists: Mapping[str, tuple[NDArray[Any], NDArray[Any], NDArray[Any]]] = field(default_factory=dict)
    """CSR matrices of items x items like `neighbours`, by their names in `serving.snapshot.contents.ITEM_LISTS`."""
    usual_prices: pa.Table | None = None
    """marts/usual_price."""
    withheld: NDArray[np.bool_] | None = None
    """[items] True for items that rules keep off lists made for no shopper in particular; None without rules."""

    @property
    def version(self) -> str:
        return f"{self.ds}-{self.run_id[:12]}"


def redacted_until(lake: Lake, ds: date) -> float:
    """Return until when erased rows had left landing as of the end of `ds`, in UTC seconds; 0 if never.

    `topshelf maintain` writes this down: `redacted_before` in `runs/maintenance/<day>.json`.
    """
    filesystem, base = filesystem_of(lake.root)
    files = filesystem.get_file_info(fs.FileSelector(f"{base}/runs/maintenance", allow_not_found=True))
    days = [date.fromisoformat(file.base_name[:10]) for file in files if file.base_name.endswith(".json")]
    reports = [lake.get_json(f"runs/maintenance/{day}.json") for day in sorted(days) if day <= ds]
    redacted = [date.fromisoformat(report["redacted_before"]) for report in reports if report.get("redacted_before")]
    return datetime(*redacted[-1].timetuple()[:3], tzinfo=UTC).timestamp() if redacted else 0.0


def _neighbours(lake: Lake, ds: date, csr: Callable[[str, str], Neighbours]) -> Neighbours:
    """Return what is similar to each item: what the same shoppers touch, filled up where the shop's vectors count."""
    content = lake.find_manifest(CONTENT, ds)
    of_shop = content.metrics_as(EmbeddingWeight) if content else EmbeddingWeight()
    near = csr(CF, "item_item")
    return filled_up(near, csr(CONTENT, "content"), FEWEST_SIMILAR) if of_shop.embedding_weight else near


def read_night(
    lake: Lake, ds: date, run_id: str = "", landing: str = "", experiments: RunningExperiments = NO_EXPERIMENTS
) -> NightContents:
    """Read what one night publishes. Without a run id, the id is a hash of the tables' fingerprints.

    Erased users are left out. An id erased before landing was last cleaned (`jobs.upkeep.maintenance`) may be back as
    a new user, so its rows stay. The manifest's `erasures_until` says which erasures are carried out.

    Raises:
        MissingPartitionError: an earlier stage has not run for the day.
        OtherExperimentsError: shelves were ranked for other experiments.
    """
    top_n = lake.manifest(TOP_N, ds)
    holdout = Holdout.read(lake, ds)
    ranker = lake.find_manifest(RANKER, ds)
    fingerprints = lake.fingerprints(
        ds, TOP_N, SHOPPER_LISTS, FALLBACK, USUAL_PRICE, EXPLORATION, ITEM, *USER_TABLES, CF, ITEM_LISTS
    )
    own_id = hashlib.sha256(
        "\n".join(f"{name}={value}" for name, value in sorted(fingerprints.items())).encode()
    ).hexdigest()

    def users(shard: int) -> pa.Table:
        return pa.concat_tables([lake.shard(table, ds, shard, USER_COLUMNS) for table in USER_TABLES])

    def csr(artifact: str, name: str) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        indptr, indices, data = (lake.array(artifact, ds, f"{name}_{part}") for part in ("indptr", "indices", "data"))
        return indptr, indices, data

    chosen = top_n.parameters_as(TopNParameters)
    if chosen.experiments != experiments.as_parameters():
        raise OtherExperimentsError(
            f"marts/top_n/ds={ds} was ranked for other experiments; run topshelf stage rank --ds {ds} again"
        )
    tombstones = erased_users(landing) if landing else Tombstones()
    erased = tombstones.after(redacted_until(lake, ds)) if len(tombstones) else tombstones
    eligibility = load_eligibility(lake, ds, chosen.rules)
    metrics: dict[str, Any] = {"holdout": {**holdout.metrics, "n_users": holdout.n_users}} if holdout else {}
    earned = OffPolicy.read(lake, ds)
    if earned is not None and earned.policy == top_n.fingerprint:  # of these shelves, not of some ranked before
        metrics["off_policy"] = {"word": earned.word, "reason": earned.line()}
    if len(tombstones):
        metrics["erasures_until"] = datetime.fromtimestamp(tombstones.newest(), UTC).isoformat(
            timespec="milliseconds"
        )
    return NightContents(
        ds=ds,
        run_id=run_id or chosen.run_id or own_id,
        items=lake.arrow(ITEM, ds, [*ITEM_COLUMNS, *POPULARITY]),
        fallback=lake.arrow(FALLBACK, ds, ["shelf", "shelf_key", "rank", "item_id", "score"]),
        neighbours=_neighbours(lake, ds, csr),
        shelves=lambda shard: without(lake.shard(TOP_N, ds, shard, SHELF_COLUMNS, SHELF_TEXTS), erased),
        own_lists=lambda shard: without(lake.shard(SHOPPER_LISTS, ds, shard, LIST_COLUMNS), erased),
        users=lambda shard: without(users(shard), erased),
        n_shards=SHARDS,
        top_n=chosen.top_n,
        model_version=str((ranker.parameters | ranker.metrics).get("model_version", "")) if ranker else "",
        policy_version=POLICY_VERSION,
        expected_users=(top_n.row_count or 0) // max(1, chosen.top_n),
        metrics=metrics,
        exploration=lake.arrow(EXPLORATION, ds),
        experiments=experiments,
        item_lists={name: csr(ITEM_LISTS, name) for name in SNAPSHOT_LISTS},
        usual_prices=lake.arrow(USUAL_PRICE, ds, ["item_id", "usual_price_minor"]),
        withheld=None if eligibility is None else eligibility.restricted,
    )
