"""Fit the two towers with JAX, on one CPU thread; the only module that needs the dependency group `towers`.

Yi et al. 2019, "Sampling-bias-corrected neural modeling for large corpus item recommendations": a batch holds pairs
of a shopper and the item that they discovered next, and each item is a negative for the other shoppers. Popular items
would be negatives too often, so the logarithm of an item's chance to be drawn is subtracted from its logit.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

# Sums depend on the number of threads, and XLA starts one a processor. JAX reads these variables when it is first
# imported, here and nowhere else. The flag alone would leave several threads to XLA's kernels.
os.environ |= {"NPROC": "1", "PJRT_NPROC": "1", "JAX_PLATFORMS": "cpu"}
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen=false".strip()

import jax
import jax.numpy as jnp

from jobs.models.towers import GROUPS, ITEM_CODES, item_tower
from jobs.numeric.arrays import Floats

Weights = dict[str, Any]
LEAST_RATE = 0.02
"""Relates the last learning rate to the first; between them the rate falls linearly."""


@dataclass(frozen=True)
class Batch:
    """Rows to learn from: shoppers, and the item that each discovered next."""

    items: npt.NDArray[np.int32]
    """The distinct items of the rows, padded; `history` and `target` are positions in it."""
    content: Floats
    """[len(items), width]: what the items say of themselves."""
    codes: npt.NDArray[np.int32]
    """[len(items), len(ITEM_CODES)]: the items' rows in the tables of embeddings, 0 for none."""
    own: Floats
    """[len(items), 1]: 1 where an item may use its own embedding, 0 where it has to do without."""
    history: npt.NDArray[np.int32]
    """[rows, LONGEST], like HistoryInputs.item."""
    weight: Floats
    numbers: Floats
    groups: npt.NDArray[np.int32]
    """[rows, len(GROUPS)]: the shoppers' group codes."""
    target: npt.NDArray[np.int32]
    """[rows]: the item discovered next."""
    log_drawn: Floats
    """[rows]: logarithm of the chance that a row's target is drawn."""


def fit(
    weights: Mapping[str, Floats], batches: Iterator[Batch], steps: int, rate: float, scale: float
) -> dict[str, Floats]:
    """Return the weights after `steps` of Adam (Kingma, Ba 2015) on the loss of the corrected softmax.

    `rate` is the first step's learning rate. A logit is `scale` times the cosine of shopper and item.
    """
    step = jax.jit(_step)
    fitted: Weights = {name: jnp.asarray(value) for name, value in weights.items()}
    first, second = jax.tree.map(jnp.zeros_like, fitted), jax.tree.map(jnp.zeros_like, fitted)
    for number, batch in zip(range(steps), batches, strict=False):
        now = rate * ((steps - number) / steps + LEAST_RATE) / (1 + LEAST_RATE)
        fitted, first, second = step(
            fitted, first, second, np.float32(number + 1), np.float32(now), vars(batch) | {"scale": np.float32(scale)}
        )
    return {name: np.asarray(value) for name, value in fitted.items()}


def _step(weights: Weights, first: Weights, second: Weights, number: Any, rate: Any, batch: Any) -> Any:
    """Return the weights and both moments after one step of Adam; steps are numbered from 1."""
    gradient = jax.grad(_loss)(weights, batch)
    first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, gradient)
    second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, second, gradient)

    def moved(value: Any, m: Any, v: Any) -> Any:
        return value - rate * (m / (1 - 0.9**number)) / (jnp.sqrt(v / (1 - 0.999**number)) + 1e-8)

    return jax.tree.map(moved, weights, first, second), first, second


def _loss(weights: Weights, batch: Any) -> Any:
    embedded = {name: weights[name][batch["codes"][:, column]] for column, name in enumerate(ITEM_CODES)}
    items = _unit(item_tower(weights, batch["content"], embedded | {"own": embedded["own"] * batch["own"]}))
    users = user_tower(weights, items, batch)
    logits = batch["scale"] * users @ items[batch["target"]].T - batch["log_drawn"]
    # Where two rows have one target, it is no negative of either.
    same_target = batch["target"][:, None] == batch["target"][None, :]
    others = same_target & ~jnp.eye(len(batch["target"]), dtype=bool)
    logits = jnp.where(others, -1e9, logits)
    return -jnp.mean(jnp.diag(jax.nn.log_softmax(logits, axis=1)))


def user_tower(weights: Weights, items: Any, batch: Any) -> Any:
    """Return what jobs.models.towers.Towers.user_tower returns, for training."""
    gathered = items[batch["history"]]
    means = [jnp.einsum("bl,bld->bd", weight, gathered) for weight in batch["weight"]]
    embedded = [weights[group][batch["groups"][:, column]] for column, group in enumerate(GROUPS)]
    known = jnp.concatenate([*means, batch["numbers"], *embedded], axis=1)
    hidden = jax.nn.relu(known @ weights["hidden"] + weights["hidden_bias"])
    out = hidden @ weights["out"] + weights["out_bias"]
    return _unit(out + weights["mix"][0] * means[0] + weights["mix"][1] * means[1])


def _unit(rows: Any) -> Any:
    return rows / jnp.sqrt((rows * rows).sum(axis=1, keepdims=True) + 1e-6)
