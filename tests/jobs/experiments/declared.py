"""Declared experiments of a test: texts of files, and how they are read."""

from collections.abc import Mapping
from pathlib import Path

from jobs.config.experiments import Experiments
from jobs.config.experiments_file import read_experiments
from jobs.config.parameters import Parameters

VARIED_HEAD = """
experiments:
  varied-head:
    layer: ranking
    from: 2026-03-01
    to: 2026-03-28
    arms:
      control: {}
      varied: {parameters: {shelves.blend.mmr_lambda: 0.5}}
"""
"""An experiment of March 2026, without its shares, which a test appends."""


def declared(folder: Path, text: str, values: Mapping[str, object] | None = None) -> Experiments:
    """Return the experiments of a file with this text, beside a shop's own parameters with these values."""
    file = folder / "experiments.yaml"
    file.write_text(text)
    return read_experiments(str(file), Parameters().with_values(values or {}))
