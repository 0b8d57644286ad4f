"""Compile LightGBM trees to machine code, to score tens of millions of rows a night.

`lleaves` predicts what LightGBM does to 1e-14 and several times as fast, once it has compiled for half a minute:
worth it for many rows only. Compiled models lie in a private folder of the machine by the hash of their text, and are
never taken from anywhere else.
"""

import hashlib
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

import lightgbm as lgb
import lleaves
import numpy as np
import numpy.typing as npt

Predict = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float64]]
WORTH_TREE_ROWS = 2_000_000_000
"""Trees times rows from which compiling pays: LightGBM walks about 15 million a second, a model takes 30 s."""


class PrivateFolderError(PermissionError):
    """The folder of compiled models could be written by somebody else."""


def pays(booster: lgb.Booster, rows: int) -> bool:
    """Tell whether a model is to score so many rows that compiling it first is the shorter way."""
    return int(booster.num_trees()) * rows >= WORTH_TREE_ROWS


def compile_once(model: str) -> Predict:
    """Return a LightGBM text model's prediction of [n, features] float32, on one thread.

    Compiled by whoever comes first; a compilation that dies leaves nothing behind.

    Raises:
        PrivateFolderError: the folder of compiled models is not this user's alone.
    """
    folder = _private_folder()
    name = hashlib.sha256(model.encode()).hexdigest()
    text, code = folder / f"{name}.txt", folder / f"{name}.bin"
    if not code.exists():
        mine = folder / f"{name}.{os.getpid()}"
        mine.with_suffix(".txt").write_text(model)
        lleaves.Model(model_file=str(mine.with_suffix(".txt"))).compile(cache=str(mine.with_suffix(".bin")))
        mine.with_suffix(".txt").replace(text)
        mine.with_suffix(".bin").replace(code)
    compiled = lleaves.Model(model_file=str(text))
    compiled.compile(cache=str(code))
    return lambda features: np.asarray(compiled.predict(features, n_jobs=1))


def _private_folder() -> Path:
    """Return the folder of this user's compiled models, made if it is not there."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "topshelf" / "trees"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError:
        folder = Path(tempfile.gettempdir()) / f"topshelf-trees-{os.getuid()}"
        folder.mkdir(exist_ok=True, mode=0o700)
    found = folder.stat()
    if found.st_uid != os.getuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PrivateFolderError(
            f"{folder} holds code that is run, and others may write to it; remove it, or make it yours alone (0700)"
        )
    return folder
