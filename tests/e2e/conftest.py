"""A small synthetic shop and its night, made once for the tests that look at a whole run."""

import shutil
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from jobs.config.parameters import Parameters
from jobs.config.settings import Settings
from jobs.lake.lake import Lake
from jobs.night.context import NightResult
from jobs.night.run import nightly
from jobs.synthetic.shop import synthetic_shop

FIRST_DAY, DAY, LAST_DAY = date(2026, 1, 1), date(2026, 2, 10), date(2026, 2, 14)
PARAMETERS = Parameters().with_values(
    {
        "shelves.top_n": 40,
        "training.windows.max_count": 2,
        "training.windows.min_history_days": 10,
        "ranking.trees": 30,
        "ranking.learning_rate": 0.05,
        "models.als.factors": 16,
        "candidates.per_user": 120,
    }
)


@dataclass(frozen=True)
class Shop:
    """A shop whose night of DAY has run; its landing holds days after it too."""

    settings: Settings
    lake: Lake
    night: NightResult


@pytest.fixture(scope="session")
def shop(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    folder = tmp_path_factory.mktemp("shop")
    settings = Settings.below(folder)
    synthetic_shop(spark, Path(settings.landing), folder / "truth", 300, 200, 12_000, FIRST_DAY, LAST_DAY, 7)
    return Shop(settings, Lake(settings.lake), nightly(settings, PARAMETERS, DAY))


def elsewhere(shop: Shop, folder: Path) -> Settings:
    """The same landing, copied, with a lake and a store of its own."""
    shutil.copytree(shop.settings.landing, folder / "landing")
    return Settings.below(folder)
