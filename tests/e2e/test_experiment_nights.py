"""Experiments from end to end: a night's arms, an endpoint that shoppers ask, and the verdict of the next night."""

import json
import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from jobs.config.experiments import Experiments
from jobs.config.parameters import Parameters
from jobs.config.settings import Settings
from jobs.evaluation.off_policy import OffPolicyError, estimate_version
from jobs.experiments.begun import ExperimentChangedError
from jobs.experiments.outcome import ExperimentOutcomes
from jobs.experiments.running import running_for
from jobs.lake.lake import Lake
from jobs.night.context import NightResult
from jobs.night.run import nightly, run_stages
from jobs.publishing.versions import promote, rollback
from jobs.synthetic.truth import true_value
from serving.snapshot.record import record_key
from serving.stores import open_store
from tests.e2e.conftest import DAY, PARAMETERS, Shop, elsewhere
from tests.jobs.experiments.declared import declared
from tests.serving.attacks import stepped_clock
from tests.serving.running import SOON_S, Server, serving, within

NEXT = DAY + timedelta(days=1)
SHOWN = 10
EXPERIMENTS = f"""
experiments:
  narrow-shelves:
    layer: ranking
    from: {NEXT}
    to: {NEXT}
    arms:
      control: {{}}
      narrow: {{rules: {{blocked: {{categories: [BLOCKED]}}}}}}
    shares: {{control: 0.5, narrow: 0.5}}
    secondary: [ctr]
  narrow-places:
    layer: mixing
    kind: interleave
    from: {NEXT}
    to: {NEXT}
    arms:
      control: {{}}
      narrow: {{rules: {{blocked: {{categories: [BLOCKED]}}}}}}
    shares: {{interleaved: 1}}
"""
"""One day each, so the next night looks once. An arm that hides most of the shop sells less: that is planted."""


@dataclass(frozen=True)
class Arms:
    """The shop's night of DAY with experiments, published beside the night without."""

    shop: Shop
    settings: Settings
    experiments: Experiments
    night: NightResult

    @property
    def parameters(self) -> Parameters:
        return PARAMETERS.model_copy(update={"experiments": self.experiments})


@pytest.fixture(scope="module")
def arms(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Arms:
    folder = tmp_path_factory.mktemp("arms")
    settings = elsewhere(shop, folder)
    shutil.copytree(shop.settings.lake, settings.lake)
    shutil.copytree(shop.settings.store.removeprefix("lmdb://"), settings.store.removeprefix("lmdb://"))
    categories = shop.lake.arrow("features/item", DAY, ["category"])["category"].to_pylist()
    departments = sorted({category.split("/")[0] for category in categories if category})
    kept = max(2, len(departments) // 6)
    experiments = declared(folder, EXPERIMENTS.replace("BLOCKED", ", ".join(departments[kept:])))
    night = nightly(settings, PARAMETERS.model_copy(update={"experiments": experiments}), DAY)
    with closing(open_store(settings.store)) as store:
        promote(store, night.version)  # a day that is live already stays live until somebody says so
    return Arms(shop, settings, experiments, night)


def test_each_shopper_is_ranked_for_their_arms_and_all_arms_are_published_as_one(arms: Arms) -> None:
    assert arms.night.version != arms.shop.night.version
    made: dict[str, dict[str, list[str]]] = {}
    rows = Lake(arms.settings.lake).arrow("marts/top_n", DAY).sort_by([("rank", "ascending")]).to_pylist()
    for row in rows:
        made.setdefault(row["user_id"], {}).setdefault(row["variant"], []).append(row["item_id"])
    assigner = running_for(arms.experiments, DAY).assigner
    assert {user: sorted(shelves) for user, shelves in made.items()} == {
        user: list(assigner.night_variants(user)) for user in made
    }
    plain: dict[str, list[str]] = {}
    for row in arms.shop.lake.arrow("marts/top_n", DAY).sort_by([("rank", "ascending")]).to_pylist():
        plain.setdefault(row["user_id"], []).append(row["item_id"])
    assert made.keys() == plain.keys()
    usual = [user for user, shelves in made.items() if "base" in shelves]
    assert len(usual) > 80
    assert all(made[user]["base"] == plain[user] for user in usual)
    with closing(open_store(arms.settings.store)) as store, closing(store.open(arms.night.version)) as snapshot:
        assert snapshot.manifest.users == arms.shop.night.users
        for user in list(made)[:40]:
            for variant in {variant for shelves in made.values() for variant in shelves}:
                assert (snapshot.look_up(record_key(user, variant)) is not None) == (variant in made[user])


def test_an_experiment_that_changes_in_mid_flight_stops_the_night(arms: Arms, tmp_path: Path) -> None:
    begun = json.loads((Path(arms.settings.lake) / "runs/experiments/narrow-shelves.json").read_text())
    assert begun["since"] == str(NEXT)
    text = (Path(arms.settings.lake).parent / "experiments.yaml").read_text()
    other = declared(tmp_path, text.replace("layer: ranking", "layer: shelves"))
    with pytest.raises(ExperimentChangedError, match="narrow-shelves runs since"):
        nightly(arms.settings, PARAMETERS.model_copy(update={"experiments": other}), DAY)


@pytest.fixture
def server(arms: Arms, tmp_path: Path) -> Iterator[Server]:
    """The endpoint of that store, on the day that the night answers for, landing where the next night reads."""
    ahead = datetime(NEXT.year, NEXT.month, NEXT.day, 12, tzinfo=UTC) - datetime.now(UTC)
    folder = Path(arms.settings.landing).parent
    with stepped_clock(tmp_path) as step:
        step(ahead.total_seconds())
        options = ("--explore-share", "0", "--perturb-share", "0.3")
        with serving(folder, *options, store=arms.settings.store) as started:
            yield started


def test_what_shoppers_chose_from_the_endpoint_gives_the_planted_verdicts(arms: Arms, server: Server) -> None:
    shop_and_land(arms, server, turns=4)
    run_stages(arms.settings, arms.parameters, NEXT, ["ingest", "shelf_outcomes"])

    outcomes = ExperimentOutcomes.read(Lake(arms.settings.lake), NEXT)
    assert outcomes is not None
    sold, chosen = outcomes.experiments["narrow-shelves"], outcomes.experiments["narrow-places"]
    assert [(of.arm, of.word) for of in sold.verdicts] == [("narrow", "stop")], sold.verdicts
    assert "conversion fell by" in sold.verdicts[0].reasons[0]
    assert not any(of.is_mismatch for of in sold.segments.values())
    assert [(of.arm, of.word) for of in chosen.verdicts] == [("narrow", "stop")], chosen.verdicts
    assert sum(sold.units.values()) == chosen.units["interleaved"]

    version = server.shelf(user_id="u-000001")["snapshot"]
    assert version == arms.night.version
    with closing(open_store(arms.settings.store)) as store:
        rollback(store)
    assert within(SOON_S, lambda: server.shelf(user_id="u-000001")["snapshot"] == arms.shop.night.version)
    told = server.shelf(user_id="u-000001", details="true")
    assert not told.get("arms"), "a rollback takes all arms"

    shop_and_land(arms, server, turns=1)
    run_stages(arms.settings, arms.parameters, NEXT, ["ingest"])
    lake = Lake(arms.settings.lake)
    found = estimate_version(lake, arms.settings.store, arms.shop.night.version, NEXT, 1)
    assert found.answers > 50, "of shoppers whom nothing that they did before put neighbours on the shelf"
    assert found.mean_weight == pytest.approx(1, abs=1e-9), "the log and the evaluation count propensities alike"
    assert found.would_be == pytest.approx(found.clicks_an_answer)
    assert found.clicks_an_answer > 0.1
    with pytest.raises(OffPolicyError, match="the store has no 2026-02-10-gone; it has"):
        estimate_version(lake, arms.settings.store, "2026-02-10-gone", NEXT, 1)


def shop_and_land(arms: Arms, server: Server, turns: int) -> None:
    """Let every shopper ask so often, and buy of what is shown; wait until answers and events are landed."""
    before = {table: len(server.landed(table)) for table in ("exposures", "events")}
    answers, events = shop_a_day(arms, server, turns)
    assert within(60, lambda: len(server.landed("exposures")) >= before["exposures"] + answers)
    assert within(60, lambda: len(server.landed("events")) >= before["events"] + events)


def shop_a_day(arms: Arms, server: Server, turns: int) -> tuple[int, int]:
    """Let every shopper ask so often, and buy by the truth of the shop; return how many answers and events."""
    truth = Path(arms.shop.settings.landing).parent / "truth"
    users = sorted(set(Lake(arms.settings.lake).arrow("marts/top_n", DAY, ["user_id"])["user_id"].to_pylist()))
    draw = np.random.default_rng(11)
    events: list[dict[str, object]] = []
    for _ in range(turns):
        for user in users:
            answer = server.shelf(user_id=user, limit=SHOWN)
            items = [row["item_id"] for row in answer["recommendations"]]
            worth = true_value(truth, [user] * len(items), [[item] for item in items], DAY)
            for item in np.array(items)[draw.random(len(items)) < worth]:
                about = {"user_id": user, "item_id": str(item), "request_id": answer["request_id"]}
                events += [
                    {"event_id": f"{answer['request_id']}-{item}-{kind}", "event_type": kind, **about}
                    for kind in ("click", "purchase")
                ]
    for start in range(0, len(events), 1_000):
        assert server.http.post("/events", json=events[start : start + 1_000]).status_code in (200, 202)
    return turns * len(users), len(events)
