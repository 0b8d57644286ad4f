"""Build `artifacts/towers` for one day: a two-tower model of shoppers and items, where JAX is installed.

    topshelf stage train_towers --ds 2026-01-31

Without the dependency group `towers` the artifact is built empty, the night does without towers, and the manifest
says so.
"""

import json
from datetime import date

import numpy as np
from threadpoolctl import threadpool_limits

from jobs.config.parameters import Parameters
from jobs.lake.lake import Lake
from jobs.lake.manifest import Manifest
from jobs.lake.tables import CONTENT, ITEM, TOWERS, USER, USER_ITEM
from jobs.models.nearest_items import USUALLY_ASKED, index_of
from jobs.models.tower_inputs import TowerParameters, TrainingData, batches, load_training_data
from jobs.models.towers import (
    DIMENSIONS,
    FADES_DAYS,
    GROUPS,
    ITEM_CODES,
    NUMBERS,
    item_tower,
    jax_version,
    smoothed_unit_rows,
)
from jobs.numeric.arrays import Floats

INPUTS = (ITEM, USER, USER_ITEM, CONTENT)
NO_JAX = "jax is not installed; uv pip install --require-hashes -r requirements-towers.lock"
FEWEST_PAIRS = 500
"""Of fewer the towers would learn noise."""
GROUP_WIDTH = 16
HIDDEN = 256


def first_weights(data: TrainingData, seed: int) -> dict[str, Floats]:
    """Draw the weights that training starts from."""
    draw = np.random.default_rng(seed)

    def drawn(*shape: int, by: float) -> Floats:
        return draw.normal(0, by, shape).astype(np.float32)

    content_width = data.items.content.shape[1]
    user_width = len(FADES_DAYS) * DIMENSIONS + NUMBERS + len(GROUPS) * GROUP_WIDTH
    sizes = data.items.codes.max(axis=0, initial=0) + 1
    return {
        **{name: drawn(int(size), DIMENSIONS, by=0.01) for name, size in zip(ITEM_CODES, sizes, strict=True)},
        "content": drawn(content_width, DIMENSIONS, by=content_width**-0.5),
        **{group: drawn(len(data.names[group]) + 1, GROUP_WIDTH, by=0.1) for group in GROUPS},
        "hidden": drawn(user_width, HIDDEN, by=user_width**-0.5),
        "hidden_bias": np.zeros(HIDDEN, np.float32),
        "out": drawn(HIDDEN, DIMENSIONS, by=0.5 * HIDDEN**-0.5),
        "out_bias": np.zeros(DIMENSIONS, np.float32),
        "mix": np.full(len(FADES_DAYS), 0.5, np.float32),
    }


def train_towers(data: TrainingData, parameters: TowerParameters) -> tuple[dict[str, Floats], int]:
    """Return the artifact's arrays, and how many steps were taken.

    - `item_vectors` [n_items, DIMENSIONS] float32, unit rows, also of items that nobody has discovered.
    - `user_*`: the user tower's weights, as jobs.models.towers.Towers reads them.
    """
    from jobs.models.towers_jax import fit

    n_rows = len(data.discoveries.item)
    size = min(max(1 << max(n_rows // 100, 1).bit_length() - 1, parameters.smallest_batch), parameters.batch)
    steps = int(np.clip(np.ceil(parameters.epochs * n_rows / size), parameters.fewest_steps, parameters.most_steps))
    weights = first_weights(data, parameters.seed)
    weights = fit(weights, batches(data, parameters, size), steps, parameters.rate, parameters.scale)
    items, has_own = data.items, data.items.codes[:, -1:] > 0
    embedded = {name: weights[name][items.codes[:, column]] for column, name in enumerate(ITEM_CODES)}
    vectors = smoothed_unit_rows(item_tower(weights, items.content, embedded | {"own": embedded["own"] * has_own}))
    of_user = set(weights) - {*ITEM_CODES, "content"}
    return {"item_vectors": vectors} | {f"user_{name}": weights[name] for name in sorted(of_user)}, steps


def tower_parameters(parameters: Parameters) -> dict[str, object]:
    """Return what the artifact is made with, the version of JAX included: without JAX there are no towers."""
    enabled = parameters.models.two_tower.enabled
    used = jax_version() if enabled else None
    return {**vars(TowerParameters(parameters.seed)), "two_tower": enabled, "jax": used}


def build(lake: Lake, ds: date, parameters: Parameters) -> Manifest:
    """Build the artifact of one day, empty where towers are left out, unless it stands already, made of the same.

    Raises:
        MissingPartitionError: the day's features or content artifact were not built.
    """
    inputs, chosen = lake.fingerprints(ds, *INPUTS), tower_parameters(parameters)

    def left_out(why: str) -> Manifest:
        metrics = {"two_tower": f"left out: {why}"}
        return lake.write_artifact(TOWERS, ds, {}, inputs=inputs, parameters=chosen, metrics=metrics)

    def train() -> Manifest:
        if chosen["jax"] is None:
            return left_out(NO_JAX if chosen["two_tower"] else "the parameter models.two_tower.enabled is false")
        shape = TowerParameters(parameters.seed)
        data = load_training_data(lake, ds, shape.most_users)
        n_pairs = len(data.discoveries.item)
        if n_pairs < FEWEST_PAIRS:
            return left_out(f"{n_pairs} pairs of shopper and item, {FEWEST_PAIRS} are needed")
        with threadpool_limits(1, "blas"):
            arrays, steps = train_towers(data, shape)
            index = index_of(arrays["item_vectors"], arrays["item_vectors"], USUALLY_ASKED)
        metrics = {
            "two_tower": f"fitted by jax {chosen['jax']}",
            "pairs": n_pairs,
            "steps": steps,
            "index": index.facts(),
        }
        texts = {"groups.json": json.dumps(data.names, sort_keys=True)}
        return lake.write_artifact(
            TOWERS, ds, arrays | index.array(), texts=texts, inputs=inputs, parameters=chosen, metrics=metrics
        )

    return lake.build_if_stale(TOWERS, ds, inputs, chosen, train)
