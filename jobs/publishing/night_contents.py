"""What one night has to publish, read from the lake."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import fs

from jobs.candidates.eligibility import load_withheld
from jobs.lake.filesystems import filesystem_of
from jobs.lake.lake import Lake
from jobs.lake.tables import SHARDS, USER_TABLES
from jobs.landing.tombstones import erased_users, without
from jobs.publishing.snapshot_columns import POPULARITY
from serving.snapshot.tombstones import Tombstones


def redacted_until(lake: Lake, ds: date) -> float:
    """Return the moment in UTC seconds up to which landing was rid of erased rows when `ds` ended; 0 for never."""
    filesystem, base = filesystem_of(lake.root)
    told = filesystem.get_file_info(fs.FileSelector(f"{base}/runs/maintenance", allow_not_found=True))
    days = [date.fromisoformat(info.base_name[:10]) for info in told if info.base_name.endswith(".json")]
    reports = [lake.get_json(f"runs/maintenance/{day}.json") for day in sorted(days) if day <= ds]
    before = [date.fromisoformat(report["redacted_before"]) for report in reports if report.get("redacted_before")]
    return datetime(*before[-1].timetuple()[:3], tzinfo=UTC).timestamp() if before else 0.0


SHELF_COLUMNS = ["variant", "user_id", "rank", "item_id", "score", "source", "reason_code", "reason_item_id"]
SHELF_TEXTS = ["variant", "user_id", "item_id", "source", "reason_code", "reason_item_id"]
USER_COLUMNS = ("user_id", "region", "age_band", "preferred_categories")
ITEM_COLUMNS = ("item_pos", "item_id", "title", "category", "brand", "seller_id", "price_minor", "stock")
POLICY_VERSION = "ranked-fill-1"


@dataclass(frozen=True)
class NightContents:
    """What one night made. Of one user shard `shelves` gives the table, sorted by the grain, `users` all users."""

    ds: date
    run_id: str
    items: pa.Table
    fallback: pa.Table
    neighbours: tuple[NDArray[Any], NDArray[Any], NDArray[Any]]  # indptr, positions, scores
    shelves: Callable[[int], pa.Table]
    users: Callable[[int], pa.Table]
    n_shards: int
    top_n: int
    model_version: str = ""
    policy_version: str = ""
    expected_users: int = 0  # roughly; a sample is drawn by it
    metrics: Mapping[str, Any] = field(default_factory=dict)
    exploration: pa.Table | None = None
    withheld: NDArray[np.bool_] | None = (
        None  # [items] what rules keep off lists that are made for nobody in particular
    )

    @property
    def version(self) -> str:
        return f"{self.ds}-{self.run_id[:12]}"


def night_of(lake: Lake, ds: date, run_id: str = "", landing: str = "") -> NightContents:
    """What the lake holds of one night. Without a run id, it is the hash of what is published.

    Users erased since landing was last rid of such rows (`jobs.upkeep.maintenance`) are left out; what the lake has
    of those erased before is of a new user. The manifest's `erasures_until` says up to when that holds.

    Raises MissingPartitionError: a stage before this one has not run for the day.
    """
    top_n = lake.manifest("marts/top_n", ds)
    holdout = lake.get_json(f"marts/evaluation/ds={ds}/holdout.json")
    ranker = lake.find_manifest("artifacts/ranker", ds)
    prints = lake.fingerprints(
        ds, "marts/top_n", "marts/fallback", "marts/exploration", "features/item", *USER_TABLES, "artifacts/cf"
    )
    own_id = hashlib.sha256(
        "\n".join(f"{name}={value}" for name, value in sorted(prints.items())).encode()
    ).hexdigest()

    def users(shard: int) -> pa.Table:
        return pa.concat_tables([lake.shard(table, ds, shard, USER_COLUMNS) for table in USER_TABLES])

    def near(name: str) -> NDArray[Any]:
        return lake.array("artifacts/cf", ds, f"item_item_{name}")

    top = int(top_n.parameters.get("top_n", 100))
    stones = erased_users(landing) if landing else Tombstones()
    erased = stones.after(redacted_until(lake, ds)) if len(stones) else stones
    withheld = load_withheld(lake, ds, top_n.parameters.get("rules", {}))
    metrics: dict[str, Any] = {"holdout": holdout["metrics"] | {"n_users": holdout["n_users"]}} if holdout else {}
    if len(stones):
        metrics["erasures_until"] = datetime.fromtimestamp(stones.newest(), UTC).isoformat(timespec="milliseconds")
    return NightContents(
        ds=ds,
        run_id=run_id or top_n.parameters.get("run_id") or own_id,
        items=lake.arrow("features/item", ds, [*ITEM_COLUMNS, *POPULARITY]),
        fallback=lake.arrow("marts/fallback", ds, ["shelf", "shelf_key", "rank", "item_id", "score"]),
        neighbours=(near("indptr"), near("indices"), near("data")),
        shelves=lambda shard: without(lake.shard("marts/top_n", ds, shard, SHELF_COLUMNS, SHELF_TEXTS), erased),
        users=lambda shard: without(users(shard), erased),
        n_shards=SHARDS,
        top_n=top,
        model_version=str((ranker.parameters | ranker.metrics).get("model_version", "")) if ranker else "",
        policy_version=POLICY_VERSION,
        expected_users=(top_n.row_count or 0) // max(1, top),
        metrics=metrics,
        exploration=lake.arrow("marts/exploration", ds),
        withheld=None if withheld is None else withheld.from_strangers,
    )
