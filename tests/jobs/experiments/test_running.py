"""What a night makes for its experiments: whose shelf is ranked how, and that a night without them is as ever."""

from datetime import date
from pathlib import Path

import numpy as np
import pytest

from jobs.candidates.generate import candidates
from jobs.config.parameters import Parameters
from jobs.experiments.running import NO_EXPERIMENTS, RunningExperiments, running_for
from jobs.lake.lake import Lake
from jobs.night.identity import run_id
from jobs.ranking.ranker import Ranker
from jobs.shelves.top_n import RankShard
from serving.snapshot.experiments import BASE
from tests.jobs.experiments.declared import VARIED_HEAD, declared
from tests.jobs.small_shop import drawn_shop

DS = date(2026, 2, 28)
FILE = (
    VARIED_HEAD
    + """    shares: {control: 0.4, varied: 0.4}
  two-orders:
    layer: mixing
    kind: interleave
    from: 2026-03-01
    to: 2026-03-28
    arms:
      control: {}
      newer: {parameters: {shelves.new_items.boost: 2}, rules: {blocked: {items: [i-3]}}}
    shares: {interleaved: 0.5}
  asked-anew:
    layer: requests
    unit: request
    from: 2026-03-01
    to: 2026-03-28
    arms:
      control: {}
      plain: {parameters: {ranking.order_tilt: 0}}
    shares: {control: 0.5, plain: 0.5}
"""
)


def parameters_with(tmp_path: Path, text: str = FILE) -> Parameters:
    return Parameters().model_copy(update={"experiments": declared(tmp_path, text)})


def only(text: str, *names: str) -> str:
    """The file with these experiments alone."""
    head, *parts = text.split("\n  ")
    kept, take = [head], False
    for part in parts:
        if not part.startswith(" "):
            take = part.rstrip(":") in names
        if take:
            kept.append(part)
    return "\n  ".join(kept) + "\n"


@pytest.fixture
def running(tmp_path: Path) -> RunningExperiments:
    return running_for(declared(tmp_path, FILE), DS)


def test_each_shopper_has_the_shelves_that_their_answers_may_read_and_no_more(running: RunningExperiments) -> None:
    assigner = running.assigner
    for number in range(300):
        user = f"user-{number}"
        may_read = {variant for key in range(40) for variant in assigner.assigned(user, b"%016d" % key).variants}
        made = assigner.night_variants(user)
        assert may_read <= set(made)
        arms = assigner.assigned(user, b"").arms
        shelves = (2 if "two-orders" in arms else 1) * 2  # each for the two arms of requests
        assert len(made) == shelves
        varied = arms.get("varied-head") == "varied"
        assert all(("varied-head=varied" in variant) == varied for variant in made)


def test_an_experiment_of_shoppers_costs_no_more_shelves(tmp_path: Path) -> None:
    running = running_for(declared(tmp_path, only(FILE, "varied-head")), DS)
    counts = [len(running.assigner.night_variants(f"user-{number}")) for number in range(500)]
    assert counts == [1] * 500


def test_a_variants_parameters_and_rules_are_those_of_all_its_arms(running: RunningExperiments) -> None:
    variant = "two-orders=newer+asked-anew=plain+varied-head=varied"
    parameters = running.parameters_of(variant, Parameters())
    assert parameters.shelves.blend.mmr_lambda == 0.5
    assert parameters.shelves.new_items.boost == 2
    assert parameters.ranking.order_tilt == 0
    assert running.rules_of(variant) == [{"blocked": {"items": ["i-3"]}}]
    assert running.parameters_of(BASE, Parameters()) == Parameters() and running.rules_of(BASE) == []


def test_shoppers_are_split_by_variant_and_each_is_ranked_once_for_each(running: RunningExperiments) -> None:
    shop, _ = drawn_shop()
    shard = RankShard(Lake("unused"), DS, Parameters(), running=running)
    users = shop.user_id.to_pylist()
    split = dict(shard.users_by_variant(shop))
    for row, user in enumerate(users):
        assert sorted(variant for variant, mine in split.items() if mine[row]) == sorted(
            running.assigner.night_variants(user)
        )
    plain = dict(RankShard(Lake("unused"), DS, Parameters()).users_by_variant(shop))
    assert list(plain) == [BASE] and plain[BASE].all()


def test_what_runs_is_part_of_the_nights_identity_and_nothing_else_of_the_file(
    lake: Lake, landing: Path, tmp_path: Path
) -> None:
    def identity(parameters: Parameters, ds: date = DS) -> str:
        return run_id(lake, ds, parameters, str(landing))

    plain = identity(Parameters())
    assert identity(parameters_with(tmp_path)) != plain
    assert identity(parameters_with(tmp_path), date(2026, 2, 27)) == identity(Parameters(), date(2026, 2, 27))
    assert identity(parameters_with(tmp_path, FILE.replace("0.4}", "0.3}"))) != identity(parameters_with(tmp_path))
    assert identity(parameters_with(tmp_path, FILE.replace("0.5}}", "0.6}}"))) != identity(parameters_with(tmp_path))
    assert identity(parameters_with(tmp_path, FILE.replace("03-28", "03-27"))) == identity(parameters_with(tmp_path))
    assert not NO_EXPERIMENTS and NO_EXPERIMENTS.as_parameters() == {}


def test_candidates_of_some_shoppers_are_ranked_as_they_are_among_all() -> None:
    from jobs.shelves.top_n import ShelfPolicy, shelves

    shop, drawn = drawn_shop()
    found = candidates(shop, drawn, 40)
    some = np.arange(len(shop)) % 3 == 1
    everybody = shelves(shop, found, drawn, Ranker({}, {}), None, ShelfPolicy(12))
    of_some = shelves(shop, found.where(some[found.user]), drawn, Ranker({}, {}), None, ShelfPolicy(12), some)
    kept = some[everybody.user]
    for name in ("user", "item", "rank", "value", "source"):
        np.testing.assert_array_equal(getattr(of_some, name), getattr(everybody, name)[kept])
