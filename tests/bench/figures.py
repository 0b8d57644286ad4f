"""What a bench measures: figures, each beside the floor that was measured in the same run."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text


@dataclass(frozen=True)
class Figure:
    """One measured value. `floor` is what the bare part under it does in the same run, in the same unit."""

    what: str
    value: float
    unit: str
    floor: float | None = None
    floor_is: str = ""  # what the floor measured
    wanted: str = ""  # what the project set out to reach, such as "at least 100,000"

    @property
    def ratio(self) -> float | None:
        """The value over its floor."""
        return self.value / self.floor if self.floor else None


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of the values lie, the next one up where there is none exactly."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def best_of(times: int, run: Callable[[], object]) -> float:
    """The shortest of several runs in seconds: what the code takes when the machine does little else."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        run()
        taken.append(time.perf_counter() - began)
    return min(taken)


def show(title: str, figures: Sequence[Figure]) -> None:
    """Print figures as a table, and below it what each ratio is to."""
    table = Table(title=title, title_justify="left", box=SIMPLE)
    for name in ("figure", "value", "unit", "bare", "ratio", "wanted"):
        table.add_column(name, justify="right" if name in {"value", "bare", "ratio"} else "left", overflow="fold")
    floors: list[str] = []
    for figure in figures:
        ratio = ""
        if figure.ratio is not None:
            if figure.floor_is not in floors:
                floors.append(figure.floor_is)
            ratio = f"{figure.ratio:,.2f} [{floors.index(figure.floor_is) + 1}]"
        bare = "" if figure.floor is None else _short(figure.floor)
        table.add_row(figure.what, _short(figure.value), figure.unit, bare, Text(ratio), figure.wanted)
    console = Console(highlight=False, markup=False)
    console.print(table)
    for number, floor in enumerate(floors, 1):
        console.print(f"  [{number}] bare: {floor}")


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:,.4g}"


def write(path: Path, name: str, figures: Sequence[Figure]) -> None:
    """Write figures as JSON, with each ratio."""
    rows = [asdict(figure) | {"ratio": figure.ratio} for figure in figures]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"bench": name, "figures": rows}, indent=1, ensure_ascii=False) + "\n")
