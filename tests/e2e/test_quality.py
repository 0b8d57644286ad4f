"""What a night's shelves are worth, as far as its own small shop can tell, and the report that shows it."""

import re
from datetime import date
from pathlib import Path

import pytest

from jobs.evaluation.ablation import AblationError, ablation, print_ablation
from jobs.evaluation.true_value import print_true_value, true_value
from jobs.lake.evaluations import Holdout, TrueValue
from jobs.numeric.list_metrics import K
from jobs.reporting.report import build
from tests.e2e.conftest import DAY, PARAMETERS, Shop


@pytest.fixture(scope="module")
def worth(shop: Shop) -> TrueValue:
    return true_value(shop.lake, DAY, Path(shop.settings.landing).parent / "truth")


def test_the_shelf_is_worth_more_than_popularity_and_the_logging_policy_in_every_group(
    worth: TrueValue,
) -> None:
    assert set(worth.groups) >= {"all", "light", "heavy", "cold"}
    for name, group in worth.groups.items():
        lists = group.lists
        assert 0 < lists["logging policy"]["share@10"] < lists["shelf"]["share@10"] < 1, name
        if name != "cold":  # what 300 shoppers' regions and age bands say is chance; a larger shop's say more
            assert lists["shelf"][f"share@{K}"] > lists["popular_30d"][f"share@{K}"], name


def test_the_shelf_is_truly_worth_more_than_each_baseline(worth: TrueValue) -> None:
    for lists in (worth.groups["all"].lists, worth.new_items.lists):
        others = {name: figures.get(f"share@{K}", 0.0) for name, figures in lists.items() if name != "shelf"}
        assert lists["shelf"][f"share@{K}"] > max(others.values()), others


def test_the_table_of_true_values_names_every_list(worth: TrueValue, capsys: pytest.CaptureFixture[str]) -> None:
    print_true_value(worth)
    printed = capsys.readouterr().out
    assert all(name in printed for name in worth.groups["all"].lists)


def test_the_night_measures_its_sources_and_its_heads(shop: Shop) -> None:
    holdout = Holdout.read(shop.lake, DAY)
    assert holdout is not None
    sources = holdout.sources.by_source.values()
    recalls = [source.recall for source in sources]
    assert max(recalls) < holdout.sources.recall < sum(recalls)  # several sources bring the same item
    assert sum(source.shelf_hits for source in sources) == pytest.approx(1, abs=1e-4)
    assert holdout.metrics["all"]["recall@20"] < holdout.sources.recall < 1
    assert {"shelf", "als", "item_item", "bought_before", "popular"} <= set(holdout.alone)
    assert "two_tower" not in holdout.alone
    assert holdout.alone["shelf"] == holdout.metrics  # all users of so small a shop are measured
    for head in holdout.heads.values():
        assert sum(row.examples for row in head.bins) == head.examples
        assert 0.5 < head.ratio < 2


def test_the_ablation_starts_from_the_ranker_that_the_night_was_judged_by(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    record = ablation(shop.lake, DAY, PARAMETERS, seeds=1)
    holdout = Holdout.read(shop.lake, DAY)
    assert holdout is not None
    for kind in ("all", "new"):
        for name, value in record.metrics[kind].items():
            assert value == pytest.approx(holdout.metrics[kind][name], abs=1e-5), (kind, name)
    assert set(record.without) == {"source", "features", "head", "blend"}
    assert set(record.without["head"]) == {"purchase", "interaction", "purchase_given_click", "order"}
    cost = {name: changes.all[f"ndcg@{K}"] for name, changes in record.without["features"].items()}
    assert cost["scores"] < 0  # a ranker that knows none of them is a worse one
    assert record.without["source"]["bought_before"].all[f"recall@{K}"] < 0
    (varied,) = record.without["blend"].values()
    assert varied.diversity > 0
    print_ablation(record)
    printed = capsys.readouterr().out
    assert all(name in printed for pieces in record.without.values() for name in pieces)


def test_an_ablation_of_a_night_that_was_not_run_says_what_to_run(shop: Shop) -> None:
    with pytest.raises(AblationError, match="topshelf nightly --ds 2026-03-01"):
        ablation(shop.lake, date(2026, 3, 1), PARAMETERS)


def test_the_report_of_the_night_shows_its_snapshot_and_shelves_with_titles(shop: Shop) -> None:
    path, facts = build(shop.lake, DAY, shop.settings.store)
    html = (Path(shop.lake.root) / path).read_text()
    assert shop.night.version in html
    assert html.count("<svg") >= 4
    assert len(facts.shelves) == 3
    assert not re.search(r"U\d{9}", html)  # nobody's id
    assert all(re.search("[A-Z]", row.title) for shelf in facts.shelves for row in shelf.rows)
