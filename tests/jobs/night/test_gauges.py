"""What a night tells Prometheus."""

from pathlib import Path

from jobs.night.gauges import timing_gauges, write_gauges
from jobs.night.progress import StageTiming


def test_gauges_of_one_family_stand_together_under_their_help_and_the_file_is_replaced_whole(tmp_path: Path) -> None:
    write_gauges(tmp_path, "ingest", timing_gauges([StageTiming("gone", 9.0, 9.0)]))
    path = write_gauges(
        tmp_path, "ingest", [*timing_gauges([StageTiming("ingest", 1.5, 2.0)]), ("topshelf_night_live", {}, 1.0)]
    )
    assert [file.name for file in tmp_path.iterdir()] == ["topshelf_night_ingest.prom"]
    assert path.read_text().splitlines() == [
        "# HELP topshelf_night_live Whether the last night went live.",
        "# TYPE topshelf_night_live gauge",
        "topshelf_night_live 1",
        "# HELP topshelf_night_stage_peak_bytes Memory that a stage's process and all it started had at most.",
        "# TYPE topshelf_night_stage_peak_bytes gauge",
        'topshelf_night_stage_peak_bytes{stage="ingest"} 2097152',
        "# HELP topshelf_night_stage_seconds What a stage of the last night took.",
        "# TYPE topshelf_night_stage_seconds gauge",
        'topshelf_night_stage_seconds{stage="ingest"} 1.5',
    ]
