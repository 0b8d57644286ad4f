"""Metrics of one host's workers, as Prometheus reads them."""

import math
import os
import subprocess
import sys
from pathlib import Path

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from serving.api.exposition import GaugeReading, exposition
from serving.api.metrics import COMPONENTS, COUNTERS, Metrics, reserve
from serving.shelf.fill_levels import LEVELS


def families(metrics: Metrics, *gauges: GaugeReading) -> dict[str, Metric]:
    return {family.name: family for family in text_string_to_metric_families(exposition(metrics, gauges).decode())}


def values(family: Metric) -> dict[str, float]:
    """The samples of a counter or gauge by the value of their label."""
    return {",".join(sample.labels.values()): sample.value for sample in family.samples}


def histogram(family: Metric, component: str) -> tuple[list[Sample], float, float]:
    """A component's buckets, its sum and its count."""
    own = [sample for sample in family.samples if sample.labels["component"] == component]
    buckets = [sample for sample in own if sample.name.endswith("_bucket")]
    (total,) = [sample.value for sample in own if sample.name.endswith("_sum")]
    (count,) = [sample.value for sample in own if sample.name.endswith("_count")]
    return buckets, total, count


def test_every_counter_has_its_name_help_and_labels_from_the_start(tmp_path: Path) -> None:
    found = families(Metrics(tmp_path))
    for counter in COUNTERS:
        family = found[counter.name.removesuffix("_total")]
        assert (family.type, family.documentation) == ("counter", counter.help)
        labels = [{counter.label: value} if counter.label else {} for value in counter.values]
        assert [(s.name, s.labels, s.value) for s in family.samples] == [(counter.name, each, 0) for each in labels]
    assert values(found["topshelf_workers"]) == {"": 1}
    assert found["topshelf_seconds"].type == "histogram"


def test_counts_land_under_their_labels_and_unknown_values_under_other(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path)
    for status in (200, 200, 503, 418):
        metrics.status(status)
    metrics.shown([0, 0, 3, 0, 8], ["snapshot_stale", "never heard of"], short=True)
    metrics.shown([], [], short=False)
    metrics.add("topshelf_events_taken_total", 12)
    found = families(metrics)
    requests, degraded = values(found["topshelf_requests"]), values(found["topshelf_degraded"])
    assert (requests["200"], requests["503"], requests["other"], requests["404"]) == (2, 1, 1, 0)
    assert {reason: count for reason, count in degraded.items() if count} == {"snapshot_stale": 1, "other": 1}
    shown = {level: count for level, count in values(found["topshelf_items_shown"]).items() if count}
    assert shown == {LEVELS[0]: 3, LEVELS[3]: 1, LEVELS[8]: 1}
    assert values(found["topshelf_short_answers"]) == {"": 1}
    assert values(found["topshelf_events_taken"]) == {"": 12}


def test_durations_are_counted_in_buckets_that_double(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path)
    parse, request = COMPONENTS.index("parse"), COMPONENTS.index("request")
    metrics.observe((1_000, 1_000 + 1_023, 5_000_000_000), (parse, request))  # 1.023 us, then almost 5 s
    metrics.observe((0, 1_024), (parse,))
    buckets, total, count = histogram(families(metrics)["topshelf_seconds"], "parse")
    edges = [float(bucket.labels["le"]) for bucket in buckets]
    assert edges == [2**power / 1e9 for power in range(10, 30)] + [math.inf]
    assert [bucket.value for bucket in buckets] == [1] + [2] * 20
    assert (total, count) == (2.047e-06, 2)
    buckets, total, count = histogram(families(metrics)["topshelf_seconds"], "request")
    assert [bucket.value for bucket in buckets] == [0] * 20 + [1]
    assert (round(total, 6), count) == (4.999998, 1)


def test_all_workers_are_summed_and_a_dead_ones_counts_stay(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path)
    metrics.status(200)
    script = (
        "import sys; from pathlib import Path; from serving.api.metrics import Metrics\n"
        "metrics = Metrics(Path(sys.argv[1])); metrics.status(200); metrics.erasures_read = 1"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True, env=os.environ, cwd=Path.cwd())
    found = families(metrics)
    assert values(found["topshelf_requests"])["200"] == 2
    assert values(found["topshelf_workers"]) == {"": 1}
    metrics.erasures_read = 3
    assert metrics.all_read_erasures(3)  # the dead worker, which read one, does not count
    assert not metrics.all_read_erasures(4)


def test_the_cells_of_a_dead_worker_go_on_with_its_successor_and_its_erasures_do_not(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from serving.api.metrics import Metrics\n"
        "metrics = Metrics(Path(sys.argv[1])); metrics.status(200); metrics.erasures_read = 7"
    )
    for _ in range(3):
        subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True, env=os.environ, cwd=Path.cwd())
    successor = Metrics(tmp_path)
    assert successor.erasures_read == 0
    assert values(families(successor)["topshelf_requests"])["200"] == 3
    assert len(list(tmp_path.glob("*.cells"))) == 1


def test_workers_find_their_files_made_with_all_blocks_and_empty(tmp_path: Path) -> None:
    Metrics(tmp_path).status(200)
    reserve(tmp_path, 2)
    made = {path: path.stat() for path in tmp_path.glob("*.cells")}
    assert all(stat.st_blocks * 512 >= stat.st_size for stat in made.values())
    first, _ = Metrics(tmp_path), Metrics(tmp_path)
    assert set(tmp_path.glob("*.cells")) == set(made)
    found = families(first)
    assert values(found["topshelf_workers"]) == {"": 2}
    assert values(found["topshelf_requests"])["200"] == 0


def test_gauges_are_rendered_with_their_help_even_without_an_end(tmp_path: Path) -> None:
    age = GaugeReading("topshelf_item_state_age_seconds", "Age of the newest row.", math.inf)
    day = GaugeReading("topshelf_snapshot_day_seconds", "The day.", 1767225600.0)
    found = families(Metrics(tmp_path), age, day)
    for gauge in (age, day):
        family = found[gauge.name]
        assert (family.type, family.documentation, values(family)) == ("gauge", gauge.help, {"": gauge.value})
