"""Plain pairs of user and item, as public benchmarks have: no prices, titles, categories, no times but the day."""

from datetime import date
from pathlib import Path

import numpy as np
import pytest
from pyspark.sql import SparkSession

from jobs.config.parameters import Parameters
from jobs.config.settings import Settings
from jobs.evaluation.evaluate import published
from jobs.lake.lake import Lake
from jobs.night.run import nightly
from jobs.synthetic.catalogue import Shop
from jobs.synthetic.rows import event_rows

SHOP = Shop(800, 400, 60_000, date(2026, 1, 1), date(2026, 3, 1), seed=11)
DAY, UNTIL = date(2026, 2, 15), date(2026, 3, 1)
PARAMETERS = Parameters().with_values(
    {
        "shelves.top_n": 60,
        "training.windows.max_count": 2,
        "training.windows.min_history_days": 10,
        "ranking.trees": 60,
        "models.als.factors": 32,
    }
)
CHOSEN = ("add_to_cart", "purchase", "rating")
COLUMNS = [(kind, metric) for kind in ("all", "new") for metric in ("recall@20", "ndcg@20")]


def land_pairs(landing: Path) -> None:
    """Land who chose what on which day, as one kind of event, and nothing else."""
    pairs: dict[str, set[tuple[str, str]]] = {str(SHOP.day(n)): set() for n in range(SHOP.days)}
    for batch in event_rows(SHOP, np.arange(SHOP.users)):
        for row in batch.select(["ds", "user_id", "item_id", "event_type"]).to_pylist():
            if row["user_id"] is not None and row["event_type"] in CHOSEN:
                pairs[str(row["ds"])].add((row["user_id"], row["item_id"]))
    for day, of_day in pairs.items():
        folder = landing / "events" / f"ds={day}"
        folder.mkdir(parents=True)
        lines = [f"{user},{item},purchase,{day}" for user, item in sorted(of_day)]
        (folder / "pairs.csv").write_text("\n".join(["user_id,item_id,event_type,ts", *lines]) + "\n")
        (folder / "_SUCCESS").touch()


@pytest.mark.slow
def test_on_plain_pairs_the_shelf_is_no_worse_than_any_single_source(spark: SparkSession, tmp_path: Path) -> None:
    settings = Settings.below(tmp_path)
    land_pairs(Path(settings.landing))
    lake = Lake(settings.lake)

    night = nightly(settings, PARAMETERS, DAY)

    assert night.live
    record = published(lake, settings.landing, DAY, UNTIL, PARAMETERS)
    for kind, metric in COLUMNS:
        others = {name: metrics[kind][metric] for name, metrics in record.baselines.items()}
        assert record.metrics[kind][metric] > max(others.values()), (kind, metric, others)
