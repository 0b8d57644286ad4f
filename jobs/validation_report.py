"""What a run's checks came to."""

from dataclasses import dataclass, field
from datetime import date

BY_HAND = "by-hand"


@dataclass(frozen=True)
class CheckResult:
    """One check of one table, and what it found; `bad_rows` is None where the check is not about rows."""

    table: str
    check: str
    severity: str
    passed: bool
    bad_rows: int | None = None
    told: str = ""
    examples: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        rows = "" if self.bad_rows is None else f": {self.bad_rows:,} rows"
        examples = "".join(f"\n  {row}" for row in self.examples)
        return f"{self.table} breaks {self.check}{rows}{' (' + self.told + ')' if self.told else ''}{examples}"


@dataclass
class ValidationReport:
    """The results of all checks of a run."""

    ds: date
    run: str = BY_HAND
    row_counts: dict[str, int] = field(default_factory=dict)
    results: list[CheckResult] = field(default_factory=list)

    @property
    def failures(self) -> list[CheckResult]:
        """Failed checks that stop the run."""
        return [result for result in self.results if not result.passed and result.severity == "fail"]

    @property
    def warnings(self) -> list[CheckResult]:
        """Failed checks that are only told."""
        return [result for result in self.results if not result.passed and result.severity == "warn"]

    def __str__(self) -> str:
        warned = "".join(f"\nwarning: {result}" for result in self.warnings)
        return f"{len(self.results)} checks of {len(self.row_counts)} tables, {len(self.failures)} failed{warned}"
