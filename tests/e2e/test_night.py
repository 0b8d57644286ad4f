"""The whole night: same inputs, same bytes; the future changes nothing; it goes on after a death."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.config.configuration import Configuration
from jobs.config.console import as_toml
from jobs.config.settings import Settings
from jobs.lake.contracts import contract, tables
from jobs.lake.lake import Lake
from jobs.lake.tables import EXPERIMENT_UNITS, SETTLED_EVENTS, WINDOW_TABLES
from jobs.night.run import nightly, run_stages
from jobs.night.stages import STAGES
from serving.snapshot.record import record_key
from serving.snapshot.tombstones import tombstone_line
from serving.stores import open_store
from tests.e2e.conftest import DAY, LAST_DAY, PARAMETERS, Shop, elsewhere

ROOT = Path(__file__).resolve().parents[2]
ARTIFACTS = ("artifacts/cf", "artifacts/content", "artifacts/ranker")
BUILT = [
    name
    for name in tables("features") + tables("marts")
    if name not in (*WINDOW_TABLES, EXPERIMENT_UNITS, SETTLED_EVENTS)
]


def rows_sha256(lake: Lake, table: str, ds: date) -> str:
    """SHA-256 of a table's rows sorted by grain: what "equal" means."""
    grain = [(name, "ascending") for name in contract(table).grain if name != "ds"]
    rows = lake.arrow(table, ds).sort_by(grain).combine_chunks()
    return sha256(json.dumps(rows.to_pylist(), default=str).encode()).hexdigest()


def snapshot_shards(store_url: str) -> list[object]:
    """What the live snapshot's shelves and blobs hash to."""
    store = open_store(store_url)
    try:
        live = max(store.versions(), key=lambda manifest: manifest.day)
        return [live.shards, live.blobs]
    finally:
        store.close()


def test_every_shopper_gets_a_shelf_of_known_items_with_a_reason_each(shop: Shop) -> None:
    shelves = shop.lake.arrow("marts/top_n", DAY).to_pandas()
    users = set(shop.lake.arrow("features/user", DAY, ["user_id"])["user_id"].to_pylist())
    assert set(shelves["user_id"]) == users
    assert (shelves.groupby("user_id")["rank"].max() == PARAMETERS.shelves.top_n).all()
    assert not shelves.duplicated(["user_id", "item_id"]).any()
    assert shelves["reason_code"].notna().all()
    history = shop.lake.arrow("features/user_item", DAY, ["user_id", "item_id"]).to_pandas()
    named = shelves.dropna(subset=["reason_item_id"])[["user_id", "reason_item_id"]].drop_duplicates()
    touched = set(zip(history["user_id"], history["item_id"], strict=True))
    assert len(named) > 100
    assert all(pair in touched for pair in zip(named["user_id"], named["reason_item_id"], strict=True))


def test_scores_fall_with_rank(shop: Shop) -> None:
    shelves = shop.lake.arrow("marts/top_n", DAY).to_pandas().sort_values(["user_id", "rank"])
    assert (shelves.groupby("user_id")["score"].diff().dropna() <= 0).all()


def test_the_night_is_live_and_says_what_it_took(shop: Shop) -> None:
    assert shop.night.live
    assert shop.night.version.startswith(f"{DAY}-")
    assert {timing.name for timing in shop.night.timings} >= {"ingest", "features", "rank", "validate", "publish"}


@pytest.mark.slow
def test_the_same_day_gives_the_same_bytes_and_nothing_after_it_matters(shop: Shop, tmp_path: Path) -> None:
    settings = elsewhere(shop, tmp_path)
    disturb_the_future(Path(settings.landing))
    again = nightly(settings, PARAMETERS, DAY)
    assert again.run_id == shop.night.run_id
    lake = Lake(settings.lake)
    for table in BUILT:
        assert rows_sha256(lake, table, DAY) == rows_sha256(shop.lake, table, DAY), table
    for artifact in ARTIFACTS:
        assert lake.manifest(artifact, DAY).files == shop.lake.manifest(artifact, DAY).files, artifact
    assert snapshot_shards(settings.store) == snapshot_shards(shop.settings.store)


def disturb_the_future(landing: Path) -> None:
    """Shuffle who did what in every folder after DAY, and forge an event that pretends to be early."""
    shuffle = random.Random(5)
    for ds in (DAY + timedelta(days=n) for n in range(1, (LAST_DAY - DAY).days + 1)):
        for path in (landing / "events" / f"ds={ds}").glob("*.parquet"):
            rows = pq.read_table(path)
            order = shuffle.sample(range(len(rows)), len(rows))
            at = rows.schema.get_field_index("item_id")
            pq.write_table(rows.set_column(at, "item_id", rows["item_id"].take(pa.array(order))), path)
        shutil.rmtree(landing / "items" / f"ds={ds}", ignore_errors=True)


def test_a_repeated_night_keeps_every_stage_and_changes_no_file(shop: Shop) -> None:
    before = {table: shop.lake.manifest(table, DAY) for table in BUILT}
    shelf = snapshot_shards(shop.settings.store)
    again = nightly(shop.settings, PARAMETERS, DAY)
    assert again.version == shop.night.version
    assert {table: shop.lake.manifest(table, DAY) for table in BUILT} == before
    assert snapshot_shards(shop.settings.store) == shelf


def test_an_erased_shopper_is_left_out_of_the_night_and_everybody_else_keeps_their_shelf(
    shop: Shop, tmp_path: Path
) -> None:
    settings = elsewhere(shop, tmp_path)
    shutil.copytree(shop.settings.lake, settings.lake)
    gone, *others = sorted(set(shop.lake.arrow("marts/top_n", DAY)["user_id"].to_pylist()))
    others += shop.lake.arrow("features/newcomer", DAY)["user_id"].to_pylist()
    stones = Path(settings.landing) / "tombstones"
    stones.mkdir()
    (stones / "2026-02-11.jsonl").write_bytes(tombstone_line(gone, datetime(2026, 2, 11, tzinfo=UTC).timestamp()))
    night = nightly(settings, PARAMETERS, DAY)
    assert night.version != shop.night.version
    with closing(open_store(settings.store)) as store, closing(store.open(night.version)) as snapshot:
        assert snapshot.manifest.metrics["erasures_until"] == "2026-02-11T00:00:00.000+00:00"
        assert snapshot.look_up(record_key(gone, "base")) is None
        assert snapshot.manifest.users == len(others)
        assert all(snapshot.look_up(record_key(user_id, "base")) for user_id in others)


def test_the_next_night_of_a_week_takes_over_the_ranker_that_training_would_give_again(
    shop: Shop, tmp_path: Path
) -> None:
    settings = elsewhere(shop, tmp_path)
    shutil.copytree(shop.settings.lake, settings.lake)
    lake, after = Lake(settings.lake), DAY + timedelta(days=1)
    nightly(settings, PARAMETERS, after)
    first, second = (lake.manifest("artifacts/ranker", day) for day in (DAY, after))
    assert (second.inputs, second.files, second.metrics) == (first.inputs, first.files, first.metrics)
    (Path(settings.lake) / f"artifacts/ranker/ds={DAY}/_manifest.json").unlink()
    (Path(settings.lake) / f"artifacts/ranker/ds={after}/_manifest.json").unlink()
    nightly(settings, PARAMETERS, after)
    assert lake.manifest("artifacts/ranker", after).files == second.files


def test_who_did_nothing_since_sunday_keeps_the_shelf_and_the_others_get_what_a_full_night_gives(
    shop: Shop, tmp_path: Path
) -> None:
    settings = elsewhere(shop, tmp_path)
    shutil.copytree(shop.settings.lake, settings.lake)
    lake, sunday, after = Lake(settings.lake), date(2026, 2, 8), date(2026, 2, 11)
    stages = [stage.name for stage in STAGES if stage.name not in ("publish", "report")]
    shelves = {}
    for quiet, days in (("ranked", (sunday, after)), ("kept", (after,))):
        for day in days:
            run_stages(settings, PARAMETERS.with_values({"shelves.quiet": quiet}), day, stages)
        shelves[quiet] = shelves_of(lake, after)
    before, now = (
        {row["user_id"]: row["event_count_total"] for row in lake.arrow("features/user", day).to_pylist()}
        for day in (sunday, after)
    )
    still = {user for user, count in now.items() if before.get(user) == count}
    lists = {row["user_id"]: len(row["item_pos"]) for row in lake.arrow("marts/candidates", after).to_pylist()}
    keeps = {user for user, length in lists.items() if not length}
    assert keeps < still, "a product that left the catalogue has some shelves ranked anew"
    assert len(now) > len(still) > len(keeps) > 0.9 * len(still) > 20
    of_sunday = shelves_of(lake, sunday)
    assert shelves["kept"] == {user: (of_sunday if user in keeps else shelves["ranked"])[user] for user in now}
    gone = set(lake.arrow("features/item", sunday)["item_id"].to_pylist()) - set(
        lake.arrow("features/item", after)["item_id"].to_pylist()
    )
    assert all(gone & {value for place in of_sunday[user] for value in place} for user in still - keeps)

    # Without the Sunday's night, or with another shelf, everybody is ranked.
    for other in ({"shelves.quiet": "kept", "shelves.blend.mmr_lambda": 0.5}, {"shelves.quiet": "ranked"}):
        run_stages(settings, PARAMETERS.with_values(other), after, stages)
        assert all(len(row["item_pos"]) for row in lake.arrow("marts/candidates", after).to_pylist())
    assert shelves_of(lake, after) == shelves["ranked"]


def shelves_of(lake: Lake, day: date) -> dict[str, list[tuple[object, ...]]]:
    """Return each shopper's places, in order."""
    found: dict[str, list[tuple[object, ...]]] = {}
    for row in lake.arrow("marts/top_n", day).to_pylist():
        found.setdefault(row["user_id"], []).append(tuple(row.values()))
    return found


@pytest.mark.slow
def test_stages_run_one_by_one_from_their_command_lines_make_the_bytes_of_the_night(
    shop: Shop, tmp_path: Path
) -> None:
    settings = elsewhere(shop, tmp_path)
    env = environment(settings, tmp_path)

    def run(stage: str) -> str:
        command = [sys.executable, "-m", "jobs", "stage", stage, "--ds", str(DAY)]
        done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=ROOT, check=False)
        assert done.returncode == 0, f"{stage}: {done.stderr[-2000:]}"
        return done.stdout

    for stage in STAGES:
        assert run(stage.name).startswith(f"{DAY}: {stage.name}: ")
    lake = Lake(settings.lake)
    for table in BUILT:
        assert rows_sha256(lake, table, DAY) == rows_sha256(shop.lake, table, DAY), table
    for artifact in ARTIFACTS:
        assert lake.manifest(artifact, DAY).files == shop.lake.manifest(artifact, DAY).files, artifact
    assert snapshot_shards(settings.store) == snapshot_shards(shop.settings.store)
    assert "kept, nothing changed" in run("candidates")


def environment(settings: Settings, folder: Path) -> dict[str, str]:
    """What tells a command the shop's places and the parameters of these tests."""
    (folder / "topshelf.toml").write_text(as_toml(Configuration(settings, PARAMETERS)))
    # Most of these runs is Java starting: compile quickly rather than well. The code has as much room as without it,
    # as Java says on standard output when it has none left.
    fast_start = {"JDK_JAVA_OPTIONS": "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m"}
    return {**os.environ, **fast_start, "TOPSHELF_CONFIG": str(folder / "topshelf.toml")}


def test_a_shop_of_two_days_and_three_shoppers_gets_its_night_too(spark: object, tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text()
    script = readme.split("```sh\n")[1].split("```")[0]
    assert "topshelf nightly" in script
    landing = "\n".join(line for line in script.splitlines() if "topshelf" not in line)
    subprocess.run(["bash", "-euc", landing], cwd=tmp_path, check=True)
    settings = Settings.below(tmp_path / "shop")
    night = nightly(settings, PARAMETERS.with_values({"shelves.top_n": 3}), date(2026, 1, 31))
    assert night.live
    shelves = Lake(settings.lake).arrow("marts/top_n", date(2026, 1, 31))
    assert set(shelves["user_id"].to_pylist()) == {"anna", "ben"}


@pytest.mark.slow
def test_a_night_killed_in_any_stage_is_finished_by_the_next_run(shop: Shop, tmp_path: Path) -> None:
    settings = elsewhere(shop, tmp_path)
    command = [sys.executable, "-m", "jobs", "nightly", "--ds", str(DAY)]
    for half_built in ("staging/items", "features/user_item", "artifacts/cf", "marts/candidates"):
        partition = Path(settings.lake) / half_built / f"ds={DAY}"
        process = subprocess.Popen(command, env=environment(settings, tmp_path), start_new_session=True, cwd=ROOT)
        try:
            deadline = time.monotonic() + 600
            while not partition.exists():
                assert process.poll() is None, f"it ended before it began to write {half_built}"
                assert time.monotonic() < deadline, f"it never began to write {half_built}"
                time.sleep(0.01)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    nightly(settings, PARAMETERS, DAY)
    lake = Lake(settings.lake)
    assert rows_sha256(lake, "marts/top_n", DAY) == rows_sha256(shop.lake, "marts/top_n", DAY)
    assert snapshot_shards(settings.store) == snapshot_shards(shop.settings.store)
