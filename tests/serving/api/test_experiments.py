"""Answers of a night with experiments: each shopper's own arm, interleaved shelves, and what is logged."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import date
from pathlib import Path

import pyarrow as pa
import pytest

from jobs.experiments.running import RunningExperiments, running_for
from jobs.publishing.publish import publish
from serving.client import read_shelf
from serving.shelf.interleave import draws
from serving.snapshot.experiments import BASE
from serving.stores import open_store
from tests.jobs.experiments.declared import declared
from tests.serving.running import SOON_S, Server, publish_night, serving, within
from tests.serving.small_shop import night, shelves_table

FILE = """
experiments:
  varied-head:
    layer: ranking
    from: 2026-02-01
    to: 2026-02-28
    arms:
      control: {}
      varied: {parameters: {shelves.blend.mmr_lambda: 0.5}}
    shares: {control: 0.3, varied: 0.3}
  two-orders:
    layer: ranking
    kind: interleave
    from: 2026-02-01
    to: 2026-02-28
    arms:
      control: {}
      tilted: {parameters: {ranking.order_tilt: 1}}
    shares: {interleaved: 0.4}
  more-new:
    layer: exploring
    unit: request
    from: 2026-02-01
    to: 2026-02-28
    arms:
      control: {}
      more: {endpoint: {explore_share: 0.5}}
    shares: {control: 0.5, more: 0.5}
"""
USERS = [f"user-{number}" for number in range(1, 60) if number % 9]
DAY = date(2026, 1, 31)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> RunningExperiments:
    return running_for(declared(tmp_path_factory.mktemp("declared"), FILE), DAY)


@pytest.fixture(scope="module")
def server(running: RunningExperiments, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("experimenting")
    plain = night(str(DAY), explores=True)
    (folder / "landing").mkdir()

    def shelves(shard: int) -> pa.Table:
        users = plain.shelves(shard)["user_id"].unique().to_pylist()
        tables = []
        for seed, variant in enumerate([BASE, "varied-head=varied", "two-orders=tilted"], 7):
            of_variant = [user for user in users if variant in running.assigner.night_variants(user)]
            tables.append(shelves_table(of_variant, 100, 20, seed * 100 + shard, variant))
        return pa.concat_tables(tables)

    with closing(open_store(f"lmdb://{folder}/store")) as store:
        manifest = publish(replace(plain, shelves=shelves, experiments=running), store).manifest
    assert manifest.users == 60, "a shopper with two shelves counts once"
    with serving(folder, "--explore-share", "0", keyed=True) as started:
        yield started


def users_with(running: RunningExperiments, experiment: str, arm: str) -> list[str]:
    return [user for user in USERS if running.assigner.assigned(user, b"").arms.get(experiment) == arm]


def own_shelf(server: Server, user: str, variant: str) -> list[str]:
    rows = read_shelf(f"lmdb://{server.folder}/store", user, variant=variant, landing=server.folder / "landing")
    return [row.item_id for row in rows]


def test_a_shopper_gets_the_shelf_of_their_arm_and_the_answer_says_so(
    server: Server, running: RunningExperiments
) -> None:
    for arm, variant in (("control", BASE), ("varied", "varied-head=varied")):
        users = users_with(running, "varied-head", arm)
        assert len(users) > 5
        for user in users[:3]:
            answer = server.shelf(user_id=user, limit=10, details="true")
            assert answer["arms"]["varied-head"] == arm
            shelf = own_shelf(server, user, variant)
            shown = [row["item_id"] for row in answer["recommendations"] if row["fill_level"] == "user"]
            assert shown == [item for item in shelf if item in set(shown)], "in the order of their own arm's shelf"
            assert len(shown) > 3
            assert shelf == [
                row.item_id
                for row in read_shelf(f"lmdb://{server.folder}/store", user, landing=server.folder / "landing")
            ], "without a variant, a reader gets what answers read"


def test_arms_are_told_only_where_details_are_asked_for(server: Server) -> None:
    assert "arms" not in server.shelf(user_id=USERS[0], limit=5)


def test_interleaved_answers_mix_both_shelves_and_log_teams_and_propensities(
    server: Server, running: RunningExperiments
) -> None:
    users = users_with(running, "two-orders", "interleaved")
    asked = 0
    for user in users:
        for _ in range(4):
            answer = server.shelf(user_id=user, limit=8, details="true")
            assert answer["arms"]["two-orders"] == "interleaved"
            asked += 1
    assert within(SOON_S, lambda: sum("two-orders" in row["arms"] for row in server.landed("exposures")) >= asked)
    rows = [row for row in server.landed("exposures") if row["arms"].get("two-orders")]
    teams: Counter[str] = Counter()
    for row in rows:
        shelves = {"control": own_shelf(server, row["user_id"], BASE)}
        shelves["tilted"] = own_shelf(server, row["user_id"], "two-orders=tilted")
        columns = (row["item_ids"], row["teams"], row["fill_levels"], row["propensities"])
        for item, team, level, propensity in zip(*columns, strict=True):
            assert (team is None) == (level != "user")
            if team is not None:
                teams[team] += 1
                assert item in shelves[team]
                assert propensity * len(draws(2)) in range(1, len(draws(2)) + 1), "it was counted over all draws"
    assert teams["control"] == pytest.approx(teams["tilted"], rel=0.15)
    assert any(p < 1 for row in rows for p in row["propensities"])


def test_a_request_is_in_an_arm_of_a_layer_of_requests_each_time_anew(server: Server) -> None:
    user = USERS[0]
    answers = [server.shelf(user_id=user, limit=10, details="true") for _ in range(40)]
    arms = Counter(answer["arms"]["more-new"] for answer in answers)
    assert set(arms) == {"control", "more"} and min(arms.values()) > 8
    explored = {
        arm: {
            sum(row["fill_level"] == "explore" for row in answer["recommendations"])
            for answer in answers
            if answer["arms"]["more-new"] == arm
        }
        for arm in arms
    }
    assert explored == {"control": {0}, "more": {5}}


def test_a_tester_gets_the_arm_that_they_ask_for_and_it_is_marked(
    server: Server, running: RunningExperiments
) -> None:
    user = users_with(running, "two-orders", "interleaved")[0]
    asked = {"user_id": user, "limit": 8, "details": "true", "arms": "more-new:more"}
    refused = server.http.get("/recommendations", params=asked)
    assert refused.status_code == 403 and "admin" in refused.json()["detail"]
    assert server.http.post("/recommendations", json={"arms": {"more-new": "more"}}).status_code == 403
    forced = server.admin.get("/recommendations", params=asked).json()
    assert forced["arms"] == {"two-orders": "interleaved", "more-new": "more", "_forced": "true"}
    by_body = server.admin.post(
        "/recommendations", json={"user_id": user, "arms": {"varied-head": "control"}, "details": True}
    ).json()
    assert by_body["arms"].items() >= {"varied-head": "control", "_forced": "true"}.items()
    for wanted, told in (
        ("gone:control", "no experiment 'gone' runs"),
        ("varied-head:gone", "varied-head has no arm 'gone'; use control, varied"),
        ("varied-head:control,two-orders:interleaved", "stand in one layer, ranking"),
        ("varied-head", "has no arm ''"),
        ("", "no experiment '' runs"),
    ):
        answer = server.admin.get("/recommendations", params=asked | {"arms": wanted})
        assert answer.status_code == 400 and told in json.dumps(answer.json(), ensure_ascii=False), answer.text


def test_a_request_without_a_shopper_is_in_no_experiment_of_shoppers(server: Server) -> None:
    assert set(server.shelf(limit=5, details="true")["arms"]) == {"more-new"}


def test_an_erased_shopper_is_in_no_experiment_of_shoppers(server: Server) -> None:
    user = USERS[-1]
    assert server.admin.delete(f"/users/{user}").status_code < 300
    assert within(SOON_S, lambda: set(server.shelf(user_id=user, limit=5, details="true")["arms"]) == {"more-new"})


def test_a_trace_follows_the_arm(server: Server, running: RunningExperiments) -> None:
    user = users_with(running, "varied-head", "varied")[0]
    traced = server.admin.get(f"/users/{user}/trace", params={"limit": 5}).json()
    assert [row["item_id"] for row in traced["candidates"]] == own_shelf(server, user, "varied-head=varied")


def test_a_tester_is_told_where_no_experiment_runs(tmp_path: Path) -> None:
    publish_night(tmp_path, str(DAY))
    with serving(tmp_path, keyed=True) as plain:
        answer = plain.admin.get("/recommendations", params={"arms": "varied-head:varied"})
        assert answer.status_code == 400 and "no experiment runs" in answer.json()["detail"]
        assert plain.http.get("/recommendations", params={"details": "true"}).json().get("arms") is None


def test_all_arms_stand_in_one_version_and_a_rollback_takes_them_all(
    running: RunningExperiments, tmp_path: Path
) -> None:
    with closing(open_store(f"lmdb://{tmp_path}/store")) as store:
        before = publish(night(str(DAY)), store).manifest
        with_arms = publish(replace(night("2026-02-01", seed=1), experiments=running), store).manifest
        assert {"experiments", "experiment_buckets"} <= set(with_arms.blobs)
        assert not {"experiments", "experiment_buckets"} & set(before.blobs), "off, they cost nothing"
        assert store.pointer().live == with_arms.version
