"""What a change of the sources rebuilds: nothing for the report's, all that uses it for a constant."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.lake.code_version import SOURCE_ROOT
from tests.e2e.conftest import DAY, Shop
from tests.e2e.test_night import BUILT, elsewhere, environment

ARTIFACTS = ("artifacts/als_choice", "artifacts/cf", "artifacts/content", "artifacts/towers", "artifacts/ranker")


@pytest.mark.slow
def test_a_comment_in_the_report_rebuilds_nothing_and_a_constant_what_uses_it_and_the_log_says_so(
    shop: Shop, tmp_path: Path
) -> None:
    settings = elsewhere(shop, tmp_path)
    shutil.copytree(shop.settings.lake, settings.lake)
    sources = tmp_path / "sources"
    for folder in ("jobs", "serving", "sql", "infra"):
        shutil.copytree(SOURCE_ROOT / folder, sources / folder, ignore=shutil.ignore_patterns("__pycache__"))

    def night() -> str:
        command = [sys.executable, "-m", "jobs", "nightly", "--ds", str(DAY)]
        env = environment(settings, tmp_path) | {"PYTHONPATH": str(sources)}
        done = subprocess.run(command, env=env, cwd=sources, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stderr

    def stood() -> dict[str, tuple[int, int]]:
        paths = [Path(settings.lake) / name / f"ds={DAY}" / "_manifest.json" for name in (*BUILT, *ARTIFACTS)]
        return {str(path): (path.stat().st_mtime_ns, path.stat().st_ino) for path in paths if path.exists()}

    def change(path: str, old: str, new: str) -> None:
        text = (sources / path).read_text()
        assert old in text
        (sources / path).write_text(text.replace(old, new, 1))

    before = stood()
    change("jobs/reporting/plots.py", "\ndef ", "\n# a comment\ndef ")
    change("jobs/reporting/plots.py", "ROW_INCHES = ", "ROW_INCHES = 0.01 + ")
    log = night()
    assert "is built again" not in log
    assert stood() == before

    change("jobs/candidates/lists.py", '"bought_before": 200', '"bought_before": 3')
    log = night()
    assert f"marts/candidates/ds={DAY} is built again: jobs.candidates.lists changed" in log
    after = stood()
    rebuilt = {path for path in before if after[path] != before[path]}
    names = {str(Path(path).parent.parent.relative_to(settings.lake)) for path in rebuilt}
    assert names >= {"marts/candidates", "marts/top_n", "artifacts/ranker"}
    assert names.isdisjoint({"features/item", "artifacts/cf", "artifacts/content", "marts/fallback"})
