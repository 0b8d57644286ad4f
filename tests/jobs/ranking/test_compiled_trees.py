"""Trees as machine code: the same predictions, compiled once, in a folder that is nobody else's."""

import stat
from pathlib import Path

import lightgbm as lgb
import numpy as np
import pytest

from jobs.ranking import compiled_trees
from jobs.ranking.compiled_trees import PrivateFolderError, compile_once, pays


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "topshelf" / "trees"


def trained(objective: str) -> tuple[lgb.Booster, np.ndarray]:
    draw = np.random.default_rng(5)
    features = draw.normal(size=(2_000, 6)).astype(np.float32)
    features[draw.random(features.shape) < 0.2] = np.nan
    features[:, 5] = draw.integers(0, 9, len(features))
    label = (np.nan_to_num(features[:, 0]) + (features[:, 5] == 3) > 0.5).astype(int)
    group = [100] * 20 if objective == "lambdarank" else None
    data = lgb.Dataset(features, label=label, group=group, categorical_feature=[5])
    chosen = {"objective": objective, "num_leaves": 7, "num_threads": 1, "verbosity": -1}
    return lgb.train(chosen, data, 10), features


@pytest.mark.parametrize("objective", ["binary", "lambdarank"])
def test_compiled_trees_predict_what_lightgbm_does(cache: Path, objective: str) -> None:
    booster, features = trained(objective)
    found = compile_once(booster.model_to_string())(features)
    assert np.allclose(found, booster.predict(features, num_threads=1), rtol=0, atol=1e-12)
    assert sorted(path.suffix for path in cache.iterdir()) == [".bin", ".txt"]
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700


def test_a_model_is_compiled_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    booster, features = trained("binary")
    compile_once(booster.model_to_string())
    before = {path: path.stat().st_mtime_ns for path in cache.iterdir()}
    compile_once(booster.model_to_string())(features)
    assert {path: path.stat().st_mtime_ns for path in cache.iterdir()} == before


def test_a_folder_that_others_may_write_to_is_refused(cache: Path) -> None:
    cache.mkdir(parents=True)
    cache.chmod(0o777)
    with pytest.raises(PrivateFolderError, match="others may write to it; remove it, or chmod your own to 0700"):
        compile_once(trained("binary")[0].model_to_string())


def test_compiling_pays_for_many_rows_only() -> None:
    assert not pays(1_000)
    assert pays(compiled_trees.MIN_ROWS)
