"""The records of evaluations have fixed keys and values: what the lake holds is read, and written back the same."""

import json
from datetime import date
from pathlib import Path

import pytest

from jobs.lake.evaluations import Ablation, EvaluationRecord, Holdout, Published, TrueValue
from jobs.lake.lake import Lake

DAY = date(2026, 2, 14)

HOLDOUT = """{
 "alone": {"als": {"all": {"ndcg@20": 0.396724}, "new": {"ndcg@20": 0.128904}},
           "shelf": {"all": {"ndcg@20": 0.545529}, "new": {"ndcg@20": 0.158453}}},
 "baselines": {"popular": {"all": {"ndcg@20": 0.07376}, "new": {"ndcg@20": 0.050596}}},
 "intervals": {"all": {"ndcg@20": [0.5295, 0.6076]}},
 "margins": {"popular": {"all": {"ndcg@20": [0.4865, 0.4483, 0.5287]}}},
 "diversity": {"curve": [{"diversity": 0.9131, "mmr_lambda": 1.0, "ndcg": 0.5455, "recall": 0.6219}],
               "mmr_lambda": 1.0},
 "heads": {
  "purchase": {
   "before": {"bins": [{"examples": 106338, "happened": 0.000856, "predicted": 0.000505}],
              "calibration_error": 0.000687, "examples": 142142, "log_loss": 0.016054, "positives": 57, "ratio": 0.9},
   "bins": [{"examples": 106338, "happened": 0.000856, "predicted": 0.000505}],
   "calibration_error": 0.0, "examples": 142142, "log_loss": 0.016054, "positives": 570, "ratio": 0.942823},
  "spend": {"bins": [], "examples": 27, "positives": 27, "ratio": 1.04}},
 "held_out": "every second shopper of the only window",
 "metrics": {"all": {"ndcg@20": 0.545529, "recall@20": 0.621949}, "new": {"ndcg@20": 0.158453, "recall@20": 0.3}},
 "n_users": {"all": 371, "new": 228},
 "sources": {"by_source": {"als": {"only": 0.076262, "recall": 0.174121, "share": 0.33769, "shelf_hits": 0.022843,
                                   "shelf_share": 0.121354, "unique_recall": 0.007987}},
             "candidates_per_user": 295.9, "recall": 0.911},
 "truth": "purchase",
 "users_of_shadow": 742,
 "window": {"from": "2026-01-26", "until": "2026-02-08"}
}"""

PUBLISHED = """{
 "baselines": {"ease": {"all": {"recall@20": 0.2}, "new": {"recall@20": 0.1}}},
 "bootstrap_draws": 1000,
 "intervals": {"all": {"recall@20": [0.4, 0.6]}, "new": {}},
 "k": 20,
 "margins": {"ease": {"all": {"recall@20": [0.3, 0.2, 0.4]}}},
 "metrics": {"all": {"recall@20": 0.5}, "new": {"recall@20": 0.25}},
 "model_version": null,
 "n_items": 5,
 "n_users": {"all": 2, "new": 0},
 "n_users_without_shelf": 1,
 "run_id": "r1",
 "segments": {
  "items": {"head": {"baselines": {"ease": {"recall@20": 0.1}}, "metrics": {"recall@20": 1.0}, "n_items": 2,
                     "n_users": 1}},
  "users": {"new": {"baselines": {"ease": {"all": {"recall@20": 0.2}}}, "metrics": {"all": {"recall@20": 0.5}},
                    "n_users": {"all": 2, "new": 0}}}},
 "skipped": {"als": "349 pairs; it is fitted up to 10"},
 "truth": "purchase",
 "window": {"from": "2026-02-15", "until": "2026-02-28"}
}"""

ABLATION = """{
 "diversity": 0.913,
 "learned_from": ["2026-01-11", "2025-12-28"],
 "metrics": {"all": {"ndcg@20": 0.5}, "new": {"ndcg@20": 0.2}},
 "n_users": {"all": 371, "new": 228},
 "seeds": 2,
 "window": {"as_of": "2026-01-25", "horizon_days": 14},
 "without": {"source": {"als": {"all": {"ndcg@20": -0.01}, "all_interval": {"ndcg@20": [-0.02, 0.0]},
                                "diversity": 0.001, "new": {"ndcg@20": 0.0}, "new_interval": {}}}}
}"""

TRUE_VALUE = """{
 "day": "2026-02-14",
 "groups": {"all": {"best": {"value@10": 4.1, "value@20": 7.9}, "n_users": 300,
                    "lists": {"logging policy": {"margin@10": [0.2, 0.1, 0.3], "share@10": 0.3},
                              "shelf": {"share@10": 0.5, "share@20": 0.6}}}},
 "new_items": {"best": {"places": 0.2, "value@10": 1.1, "value@20": 1.9}, "n_items": 40, "n_users": 300,
               "lists": {"shelf": {"places": 0.1, "share@10": 0.2, "share@20": 0.3}}}
}"""


@pytest.mark.parametrize(
    ("record", "text"),
    [(Holdout, HOLDOUT), (Published, PUBLISHED), (Ablation, ABLATION), (TrueValue, TRUE_VALUE)],
    ids=["holdout", "published", "ablation", "true_value"],
)
def test_a_record_is_written_back_as_it_was_read(record: type[EvaluationRecord], text: str, lake: Lake) -> None:
    lake.put_text(record.path(DAY), text)
    found = record.read(lake, DAY)
    assert found is not None
    found.rounded().write(lake, DAY)
    stored = (Path(lake.root) / "marts/evaluation/ds=2026-02-14" / record.FILE).read_text()
    assert stored == json.dumps(json.loads(text), indent=1, sort_keys=True)


def test_a_holdout_of_before_intervals_is_read_without_them(lake: Lake) -> None:
    earlier = {name: value for name, value in json.loads(HOLDOUT).items() if name not in ("intervals", "margins")}
    lake.put_json(Holdout.path(DAY), earlier)
    found = Holdout.read(lake, DAY)
    assert found is not None
    assert (found.intervals, found.margins) == ({}, {})


def test_a_day_without_a_record_and_one_with_other_fields_have_none(lake: Lake) -> None:
    assert Holdout.read(lake, DAY) is None
    lake.put_json(Holdout.path(DAY), {"metrics": {"all": {"ndcg@20": 0.5}}})
    assert Holdout.read(lake, DAY) is None


def test_rounding_drops_what_lies_beyond_six_digits(lake: Lake) -> None:
    lake.put_text(TrueValue.path(DAY), TRUE_VALUE.replace("0.5,", "0.49999999,"))
    found = TrueValue.read(lake, DAY)
    assert found is not None
    assert found.rounded().groups["all"].share("shelf", 10) == 0.5


def test_a_group_has_no_share_of_a_list_or_a_cut_that_it_lacks(lake: Lake) -> None:
    lake.put_text(TrueValue.path(DAY), TRUE_VALUE)
    found = TrueValue.read(lake, DAY)
    assert found is not None
    group = found.groups["all"]
    assert (group.share("logging policy", 10), group.share("logging policy", 20), group.share("als", 10)) == (
        *(0.3, None, None),
    )
