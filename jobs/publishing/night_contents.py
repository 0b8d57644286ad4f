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
from jobs.lake.evaluations import Holdout
from jobs.lake.filesystems import filesystem_of
from jobs.lake.lake import Lake
from jobs.lake.tables import CF, EXPLORATION, FALLBACK, ITEM, RANKER, SHARDS, TOP_N, USER_TABLES
from jobs.landing.tombstones import erased_users, without
from jobs.publishing.snapshot_columns import POPULARITY
from serving.snapshot.tombstones import Tombstones

SHELF_COLUMNS = ["variant", "user_id", "rank", "item_id", "score", "source", "reason_code", "reason_item_id"]
SHELF_TEXTS = ["variant", "user_id", "item_id", "source", "reason_code", "reason_item_id"]
USER_COLUMNS = ("user_id", "region", "age_band", "preferred_categories")
ITEM_COLUMNS = ("item_pos", "item_id", "title", "category", "brand", "seller_id", "price_minor", "stock")
POLICY_VERSION = "ranked-fill-1"


class TopNParameters(msgspec.Struct, frozen=True):
    """What the manifest of marts/top_n says of how it was made, as far as a snapshot needs it."""

    top_n: int = 100
    run_id: str = ""
    rules: dict[str, object] = {}


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
    exploration: pa.Table | None = None
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


def read_night(lake: Lake, ds: date, run_id: str = "", landing: str = "") -> NightContents:
    """Read what one night publishes. Without a run id, the id is a hash of the tables' fingerprints.

    Erased users are left out. An id erased before landing was last cleaned (`jobs.upkeep.maintenance`) may be back as
    a new user, so its rows stay. The manifest's `erasures_until` says which erasures are carried out.

    Raises:
        MissingPartitionError: an earlier stage has not run for the day.
    """
    top_n = lake.manifest(TOP_N, ds)
    holdout = Holdout.read(lake, ds)
    ranker = lake.find_manifest(RANKER, ds)
    fingerprints = lake.fingerprints(ds, TOP_N, FALLBACK, EXPLORATION, ITEM, *USER_TABLES, CF)
    own_id = hashlib.sha256(
        "\n".join(f"{name}={value}" for name, value in sorted(fingerprints.items())).encode()
    ).hexdigest()

    def users(shard: int) -> pa.Table:
        return pa.concat_tables([lake.shard(table, ds, shard, USER_COLUMNS) for table in USER_TABLES])

    def neighbour_array(name: str) -> NDArray[Any]:
        return lake.array(CF, ds, f"item_item_{name}")

    chosen = top_n.parameters_as(TopNParameters)
    tombstones = erased_users(landing) if landing else Tombstones()
    erased = tombstones.after(redacted_until(lake, ds)) if len(tombstones) else tombstones
    eligibility = load_eligibility(lake, ds, chosen.rules)
    metrics: dict[str, Any] = {"holdout": {**holdout.metrics, "n_users": holdout.n_users}} if holdout else {}
    if len(tombstones):
        metrics["erasures_until"] = datetime.fromtimestamp(tombstones.newest(), UTC).isoformat(
            timespec="milliseconds"
        )
    return NightContents(
        ds=ds,
        run_id=run_id or chosen.run_id or own_id,
        items=lake.arrow(ITEM, ds, [*ITEM_COLUMNS, *POPULARITY]),
        fallback=lake.arrow(FALLBACK, ds, ["shelf", "shelf_key", "rank", "item_id", "score"]),
        neighbours=(neighbour_array("indptr"), neighbour_array("indices"), neighbour_array("data")),
        shelves=lambda shard: without(lake.shard(TOP_N, ds, shard, SHELF_COLUMNS, SHELF_TEXTS), erased),
        users=lambda shard: without(users(shard), erased),
        n_shards=SHARDS,
        top_n=chosen.top_n,
        model_version=str((ranker.parameters | ranker.metrics).get("model_version", "")) if ranker else "",
        policy_version=POLICY_VERSION,
        expected_users=(top_n.row_count or 0) // max(1, chosen.top_n),
        metrics=metrics,
        exploration=lake.arrow(EXPLORATION, ds),
        withheld=None if eligibility is None else eligibility.restricted,
    )
