"""Training the two towers for real, with JAX, in processes of their own: the environment of the tests has none.

JAX comes from the folder that `.ci/run` installs requirements-towers.lock into, or from the environment.
"""

import importlib.util
import os
import subprocess
import sys
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from jobs.config.parameters import Parameters
from jobs.features.shoppers import ShopperHistories, load_shoppers
from jobs.lake.lake import Lake
from jobs.lake.tables import CONTENT, TOWERS
from jobs.models.towers import DIMENSIONS, load_towers
from jobs.models.train_towers import tower_parameters
from jobs.night.identity import run_id
from tests.jobs.small_shop import drawn_catalogue, drawn_history, lay_shop

ROOT = Path(__file__).resolve().parents[3]
BESIDE = ROOT / "build/towers"
DS = date(2026, 1, 31)
N_ITEMS = 60
NEW = 17
"""An item that nobody has found."""

AS_JAX_HAS_IT = """
import sys
from datetime import date
import numpy as np
from jobs.lake.lake import Lake
from jobs.models.tower_inputs import TowerParameters, batches, load_training_data
from jobs.models.towers import ITEM_CODES, HistoryInputs, Towers, item_tower, smoothed_unit_rows
from jobs.models.towers_jax import user_tower
from jobs.models.train_towers import first_weights

data = load_training_data(Lake(sys.argv[1]), date.fromisoformat(sys.argv[2]), 1000)
weights = first_weights(data, 5)
batch = next(batches(data, TowerParameters(5), 64))
embedded = {name: weights[name][batch.codes[:, column]] for column, name in enumerate(ITEM_CODES)}
items = smoothed_unit_rows(item_tower(weights, batch.content, embedded | {"own": embedded["own"] * batch.own}))
by_jax = user_tower(weights, items, vars(batch))
history = HistoryInputs(batch.history, batch.weight, batch.numbers)
by_numpy = Towers(items, weights, data.names).user_tower(history, batch.groups)
np.testing.assert_allclose(by_jax, by_numpy, atol=1e-5)
assert np.ptp(by_numpy, axis=0).max() > 0.01
"""

BYTES_OF_LARGE_BATCHES = """
import hashlib, os, sys
if sys.argv[1] == "one":
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
import numpy as np
from jobs.models.tower_inputs import ItemInputs, TowerParameters, TrainingData
from jobs.models.towers import Discoveries
from jobs.models.train_towers import train_towers

draw = np.random.default_rng(1)
user, item = np.divmod(np.sort(draw.choice(1_000 * 2_000, 30_000, replace=False)), 2_000)
days = draw.integers(0, 300, len(user))
history = {"item_pos": item, "days_since_first_event": days, "days_since_last_event": days // 2}
found = Discoveries.from_history(user, history | {"weight_milli": np.ones(len(user))}, 1_000)
content = draw.normal(size=(2_000, 256)).astype(np.float32)
codes = np.column_stack([np.zeros((2_000, 2)), np.arange(2_000) + 1]).astype(np.int32)
groups, names = np.zeros((1_000, 2), np.int32), {"region": [], "age_band": []}
data = TrainingData(found, groups, names, ItemInputs(content, codes))
arrays, _ = train_towers(data, TowerParameters(1, fewest_steps=4, most_steps=4, smallest_batch=1_024))
print(hashlib.sha256(b"".join(arrays[name].tobytes() for name in sorted(arrays))).hexdigest())
"""


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run Python where JAX can be imported; skip, or in CI fail, where it is nowhere."""
    if not importlib.util.find_spec("jax") and not (BESIDE / "jax").is_dir():
        give_up = pytest.fail if os.environ.get("TOPSHELF_REQUIRE_GROUPS") else pytest.skip
        give_up(f"JAX is missing: run uv pip install --no-deps --target {BESIDE} -r requirements-towers.lock")
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{BESIDE}"}
    return subprocess.run(
        [sys.executable, *command], env=environment, capture_output=True, text=True, timeout=300, check=True, cwd=ROOT
    )


def train(lake: Lake) -> str:
    return run("-m", "jobs", "stage", "train_towers", "--ds", str(DS), "--lake", lake.root).stdout


def laid(root: Path) -> tuple[Lake, ShopperHistories]:
    """A lake with a shop whose shoppers keep to the odd items or to the even ones, mostly."""
    lake, shop = Lake(str(root)), drawn_history(3, 120, N_ITEMS, nobody_has=NEW)
    lay_shop(lake, DS, shop, drawn_catalogue(3, N_ITEMS))
    return lake, shop


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Lake, str]:
    lake, _ = laid(tmp_path_factory.mktemp("towers"))
    return lake, train(lake)


def test_the_artifact_names_its_version_of_jax_and_is_stale_without_jax(
    trained: tuple[Lake, str],
) -> None:
    lake, said = trained
    assert "fitted by jax" in said
    manifest = lake.manifest(TOWERS, DS)
    without = dict(tower_parameters(Parameters().with_values({"models.two_tower.enabled": False})))
    assert manifest.differences(manifest.inputs, without)
    assert manifest.parameters["jax"] in said


def test_two_trainings_make_the_same_bytes_however_many_processors_there_are() -> None:
    one, all_of_them = (run("-c", BYTES_OF_LARGE_BATCHES, processors).stdout for processors in ("one", "all"))
    assert len(one.strip()) == 64
    assert one == all_of_them


def test_the_user_tower_in_numpy_equals_the_one_in_jax(trained: tuple[Lake, str]) -> None:
    run("-c", AS_JAX_HAS_IT, trained[0].root, str(DS))


def test_shoppers_are_nearer_to_unseen_items_of_the_half_that_they_prefer(trained: tuple[Lake, str]) -> None:
    lake, shop = trained[0], laid_shop(trained[0])
    towers = load_towers(lake, DS)
    assert towers is not None
    assert towers.item_vectors.shape == (N_ITEMS, DIMENSIONS)
    np.testing.assert_allclose(np.linalg.norm(towers.item_vectors, axis=1), 1, rtol=1e-3)
    cosine = towers.vectors(shop) @ towers.item_vectors.T
    odd = np.zeros(len(shop))
    np.add.at(odd, shop.history_user(), np.where(shop.history["item_pos"] % 2, 1, -1))
    unseen = np.ones(cosine.shape, bool)
    unseen[shop.history_user(), shop.history["item_pos"]] = False
    clear = np.flatnonzero(np.abs(odd) >= 4)
    nearer = [
        np.sign(odd[user]) * (of[odd_items & unseen[user]].mean() - of[~odd_items & unseen[user]].mean()) > 0
        for user in clear
        for of, odd_items in [(cosine[user], np.arange(N_ITEMS) % 2 == 1)]
    ]
    assert len(clear) > 20
    assert np.mean(nearer) > 0.8


def cosine_of_words(lake: Lake) -> np.ndarray:
    words = lake.array(CONTENT, DS, "item_vectors")
    return np.asarray(words @ words.T)


def laid_shop(lake: Lake) -> ShopperHistories:
    return load_shoppers(lake, DS, 0, N_ITEMS)


def test_an_item_that_nobody_discovered_is_near_items_with_similar_words(trained: tuple[Lake, str]) -> None:
    shop, towers = laid_shop(trained[0]), load_towers(trained[0], DS)
    assert towers is not None
    assert not (shop.history["item_pos"] == NEW).any()
    alike = cosine_of_words(trained[0])[NEW]
    alike[NEW] = -1
    likeness = towers.item_vectors @ towers.item_vectors[NEW]
    near = alike >= np.sort(alike)[-5]
    assert likeness[near].mean() > likeness[~near].mean() + 0.1


def test_with_another_jax_a_night_is_another_night(
    lake: Lake, landing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.night.identity.jax_version", lambda: None)
    without = run_id(lake, DS, Parameters(), str(landing))
    monkeypatch.setattr("jobs.night.identity.jax_version", lambda: "0.10.2")
    assert run_id(lake, DS, Parameters(), str(landing)) != without
    by_choice = run_id(lake, DS, Parameters().with_values({"models.two_tower.enabled": False}), str(landing))
    monkeypatch.setattr("jobs.night.identity.jax_version", lambda: None)
    assert run_id(lake, DS, Parameters().with_values({"models.two_tower.enabled": False}), str(landing)) == by_choice
