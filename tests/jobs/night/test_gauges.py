"""Gauges of a night, as Prometheus reads them."""

from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from jobs.night.gauges import HELP, GaugeValue, timing_gauges, write_gauges
from jobs.night.progress import StageTiming
from jobs.night.usage import Processor


def test_the_file_holds_each_family_once_with_its_help_and_is_replaced_whole(tmp_path: Path) -> None:
    write_gauges(tmp_path, "ingest", timing_gauges([StageTiming("gone", 9.0, 9.0)]))
    timings = [
        StageTiming("ingest", 1.5, 2.0, processor=Processor(0.5, 2.0, 0.25)),
        StageTiming("features", 0.125, 1.0),
    ]
    means = [
        GaugeValue("topshelf_night_feature_mean", {"table": "features/user", "column": column}, mean)
        for column, mean in (("views", 0.1), ("buys", -2.5e-7))
    ]
    path = write_gauges(
        tmp_path, "ingest", [*timing_gauges(timings), GaugeValue("topshelf_night_live", {}, 1.0), *means]
    )
    assert [file.name for file in tmp_path.iterdir()] == ["topshelf_night_ingest.prom"]

    families = {family.name: family for family in text_string_to_metric_families(path.read_text())}
    assert {(family.type, family.documentation == HELP[name]) for name, family in families.items()} == {
        ("gauge", True)
    }
    assert {name: [(s.name, s.labels, s.value) for s in family.samples] for name, family in families.items()} == {
        "topshelf_night_stage_seconds": [
            ("topshelf_night_stage_seconds", {"stage": "ingest"}, 1.5),
            ("topshelf_night_stage_seconds", {"stage": "features"}, 0.125),
        ],
        "topshelf_night_stage_processor_seconds": [
            ("topshelf_night_stage_processor_seconds", {"process": process, "stage": stage}, used_s)
            for stage, used in (("ingest", (0.5, 2.0, 0.25)), ("features", (0.0, 0.0, 0.0)))
            for process, used_s in zip(("driver", "jvm", "workers"), used, strict=True)
        ],
        "topshelf_night_stage_peak_bytes": [
            ("topshelf_night_stage_peak_bytes", {"stage": "ingest"}, 2097152),
            ("topshelf_night_stage_peak_bytes", {"stage": "features"}, 1048576),
        ],
        "topshelf_night_live": [("topshelf_night_live", {}, 1)],
        "topshelf_night_feature_mean": [
            ("topshelf_night_feature_mean", {"table": "features/user", "column": "views"}, 0.1),
            ("topshelf_night_feature_mean", {"table": "features/user", "column": "buys"}, -2.5e-7),
        ],
    }
    lines = path.read_text().splitlines()
    assert len([line for line in lines if line.startswith("# HELP")]) == len(families)
