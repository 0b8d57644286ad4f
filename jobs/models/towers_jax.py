"""Fit the two towers with JAX, on one thread of the processor; the only module that needs the group `towers`.

Yi et al. 2019, "Sampling-bias-corrected neural modeling for large corpus item recommendations": of a batch of
(shopper, item found next) each item is the others' negative, and a logit is lowered by the logarithm of how often its
item is drawn, which a softmax within the batch would hold against popular items otherwise.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

# A sum of several threads depends on how many there are, and XLA takes one a processor. Read when JAX is first
# imported, here and nowhere else; the flag alone leaves threads to its kernels.
os.environ |= {"NPROC": "1", "PJRT_NPROC": "1", "JAX_PLATFORMS": "cpu"}
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen=false".strip()

import jax
import jax.numpy as jnp

from jobs.models.towers import GROUPS, ITEM_CODES, item_tower
from jobs.numeric.arrays import Floats

Weights = dict[str, Any]
WARM_UP = 0.02
"""The rate begins at this share of itself, and falls to it in a line."""


@dataclass(frozen=True)
class Batch:
    """Rows to learn from. `items` are the distinct items that they name; every other item number points into it."""

    items: npt.NDArray[np.int32]
    content: Floats
    """[len(items), width]: what the items say of themselves."""
    codes: npt.NDArray[np.int32]
    """[len(items), len(ITEM_CODES)]: their rows in the tables of embeddings, 0 for none."""
    own: Floats
    """[len(items), 1]: 1 where an item may use its own embedding, 0 where its words have to do."""
    history: npt.NDArray[np.int32]
    weight: Floats
    numbers: Floats
    groups: npt.NDArray[np.int32]
    target: npt.NDArray[np.int32]
    log_drawn: Floats
    """[rows]: logarithm of the chance that a row's target is drawn."""


def fit(
    weights: Mapping[str, Floats], batches: Iterator[Batch], steps: int, rate: float, scale: float
) -> dict[str, Floats]:
    """Return the weights after `steps` of Adam (Kingma, Ba 2015) down the corrected softmax's loss.

    A logit is `scale` times the cosine of shopper and item.
    """
    step = jax.jit(_step)
    found: Weights = {name: jnp.asarray(value) for name, value in weights.items()}
    first, second = jax.tree.map(jnp.zeros_like, found), jax.tree.map(jnp.zeros_like, found)
    for number, batch in zip(range(steps), batches, strict=False):
        now = rate * ((steps - number) / steps + WARM_UP) / (1 + WARM_UP)
        found, first, second = step(
            found, first, second, np.float32(number + 1), np.float32(now), vars(batch) | {"scale": np.float32(scale)}
        )
    return {name: np.asarray(value) for name, value in found.items()}


def _step(found: Weights, first: Weights, second: Weights, number: Any, rate: Any, batch: Any) -> Any:
    slope = jax.grad(_loss)(found, batch)
    first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, slope)
    second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, second, slope)

    def moved(value: Any, m: Any, v: Any) -> Any:
        return value - rate * (m / (1 - 0.9**number)) / (jnp.sqrt(v / (1 - 0.999**number)) + 1e-8)

    return jax.tree.map(moved, found, first, second), first, second


def _loss(found: Weights, batch: Any) -> Any:
    of_item = {name: found[name][batch["codes"][:, column]] for column, name in enumerate(ITEM_CODES)}
    items = _unit(item_tower(found, batch["content"], of_item | {"own": of_item["own"] * batch["own"]}))
    users = _user_tower(found, items, batch)
    logits = batch["scale"] * users @ items[batch["target"]].T - batch["log_drawn"]
    drawn_twice = batch["target"][:, None] == batch["target"][None, :]
    others = drawn_twice & ~jnp.eye(len(batch["target"]), dtype=bool)
    logits = jnp.where(others, -1e9, logits)
    return -jnp.mean(jnp.diag(jax.nn.log_softmax(logits, axis=1)))


def _user_tower(found: Weights, items: Any, batch: Any) -> Any:
    """The same as jobs.models.towers.Towers.of; a test holds one against the other."""
    gathered = items[batch["history"]]
    means = [jnp.einsum("bl,bld->bd", weight, gathered) for weight in batch["weight"]]
    embedded = [found[group][batch["groups"][:, column]] for column, group in enumerate(GROUPS)]
    known = jnp.concatenate([*means, batch["numbers"], *embedded], axis=1)
    hidden = jax.nn.relu(known @ found["hidden"] + found["hidden_bias"])
    out = hidden @ found["out"] + found["out_bias"]
    return _unit(out + found["mix"][0] * means[0] + found["mix"][1] * means[1])


def _unit(rows: Any) -> Any:
    return rows / jnp.sqrt((rows * rows).sum(axis=1, keepdims=True) + 1e-6)
