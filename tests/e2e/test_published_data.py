"""The night on data that a shop published: Online Retail, the days after it, and the endpoint that serves each."""

import json
import urllib.parse
import urllib.request
from datetime import date, timedelta
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from jobs.config.parameters import Parameters
from jobs.config.settings import Settings
from jobs.demo import endpoint
from jobs.evaluation.evaluate import published
from jobs.lake.lake import Lake
from jobs.landing.adapters.online_retail import online_retail
from jobs.night.run import nightly

DS, UNTIL = date(2011, 11, 9), date(2011, 11, 23)
REGULAR = "17850"


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.timeout(3_600)
def test_online_retail_s_shelf_beats_each_baseline_in_each_column_and_each_night_is_served(
    spark: SparkSession, shop_data: Path, tmp_path: Path
) -> None:
    settings = Settings.below(tmp_path)
    online_retail(shop_data / "online_retail" / "by-day", Path(settings.landing))
    parameters = Parameters().with_values({"shelves.top_n": 300})
    first = nightly(settings, parameters, DS)
    record = published(Lake(settings.lake), settings.landing, DS, UNTIL, parameters)
    for kind in ("all", "new"):
        for metric in ("recall@20", "ndcg@20"):
            ours = record.metrics[kind][metric]
            others = {name: metrics[kind][metric] for name, metrics in record.baselines.items()}
            assert ours > max(others.values()), (kind, metric, ours, others)
    second = nightly(settings, parameters, DS + timedelta(days=1))
    assert first.live
    assert second.live
    with endpoint(settings) as address:
        asked = urllib.parse.urlencode({"user_id": REGULAR, "limit": 20})
        with urllib.request.urlopen(f"{address}/recommendations?{asked}", timeout=10) as response:
            answer = json.loads(response.read())
    assert answer["snapshot"] == second.version
    assert len(answer["recommendations"]) == 20
