"""The results of a night's checks, and their page: one HTML file that needs no network and no server.

>>> Path("checks.html").write_text(page(report))
"""

from datetime import date
from html import escape

import msgspec

BY_HAND = "by-hand"
"""The run's name where no night runs the checks."""


class CheckResult(msgspec.Struct, frozen=True):
    """The result of one check of one table."""

    table: str
    check: str
    """Its kind and its arguments, as text."""
    severity: str
    passed: bool
    bad_rows: int | None = None
    """How many rows break it; None if it passed, could not be judged, or is about the table and not about rows."""
    detail: str = msgspec.field(default="", name="told")
    """Why it could not be judged, or the table's row count."""
    examples: list[str] = []
    """A few of the rows that break it."""

    def __str__(self) -> str:
        rows = "" if self.bad_rows is None else f": {self.bad_rows:,} rows"
        detail = f" ({self.detail})" if self.detail else ""
        examples = "".join(f"\n  {row}" for row in self.examples)
        return f"{self.table} breaks {self.check}{rows}{detail}{examples}"


class ValidationReport(msgspec.Struct):
    """The results of all checks of a run."""

    ds: date
    run: str = BY_HAND
    row_counts: dict[str, int] = {}
    results: list[CheckResult] = []

    @property
    def failures(self) -> list[CheckResult]:
        """Failed checks that stop the run."""
        return [result for result in self.results if not result.passed and result.severity == "fail"]

    @property
    def warnings(self) -> list[CheckResult]:
        """Failed checks that are only reported."""
        return [result for result in self.results if not result.passed and result.severity == "warn"]

    def __str__(self) -> str:
        warnings = "".join(f"\nwarning: {result}" for result in self.warnings)
        return f"{len(self.results)} checks of {len(self.row_counts)} tables, {len(self.failures)} failed{warnings}"


def report_path(ds: date, run: str) -> str:
    """Return where in the lake a run's results are."""
    return f"marts/validation/ds={ds}/{run}.json"


def page_path(ds: date, run: str) -> str:
    """Return where in the lake the page of a run's results is."""
    return f"marts/validation/ds={ds}/{run}.html"


STYLE = """
:root { color-scheme: light dark; --line: #8884; --good: #1a7f4b; --bad: #c62828; --warn: #a86500; }
@media (prefers-color-scheme: dark) { :root { --good: #5ccb8f; --bad: #ff7b72; --warn: #e3b341; } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: .2rem; }
.summary { margin-top: 0; opacity: .75; }
.counts { display: flex; gap: 1rem; flex-wrap: wrap; margin: 1.2rem 0; }
.counts div { border: 1px solid var(--line); border-radius: .5rem; padding: .5rem 1rem; min-width: 7rem; }
.counts b { display: block; font-size: 1.6rem; line-height: 1.2; }
details { border: 1px solid var(--line); border-radius: .5rem; margin: .5rem 0; padding: .4rem .8rem; }
summary { cursor: pointer; display: flex; gap: 1rem; align-items: baseline; }
summary code { flex: 1; font-weight: 600; }
.rows { opacity: .75; font-variant-numeric: tabular-nums; }
table { border-collapse: collapse; width: 100%; margin: .5rem 0; }
th { text-align: left; font-weight: 600; opacity: .75; }
th, td { border-top: 1px solid var(--line); padding: .25rem .5rem .25rem 0; vertical-align: top; }
td { overflow-wrap: anywhere; }
td:first-child { white-space: nowrap; width: 6rem; }
th.count, td.count { text-align: right; font-variant-numeric: tabular-nums; width: 8rem; }
pre { margin: .2rem 0; white-space: pre-wrap; font-size: .85rem; opacity: .85; }
.passed { color: var(--good); } .failed { color: var(--bad); } .warned { color: var(--warn); }
"""
MARKS = {"passed": "✓ passed", "failed": "✗ failed", "warned": "! warned"}


def page(report: ValidationReport) -> str:
    """Return a run's results as HTML: tables that failed first, then those that warn, both unfolded."""
    tables = sorted(report.row_counts, key=lambda name: (-_urgency(report, name), name))
    passed = sum(result.passed for result in report.results)
    counts = {"passed": passed, "failed": len(report.failures), "warned": len(report.warnings)}
    boxes = "".join(
        f'<div class="{outcome if count else ""}"><b>{count:,}</b>{outcome}</div>'
        for outcome, count in counts.items()
    )
    consequence = "stopped the night" if report.failures else "let the night go on"
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Checks of {report.ds}</title><style>{STYLE}</style></head><body>
<h1>Checks of {report.ds}</h1>
<p class="summary">Run {escape(report.run)}: {len(report.results):,} checks of {len(tables)} tables {consequence}.
The checks of a table are in <code>sql/&lt;table&gt;.yml</code>.</p>
<div class="counts">{boxes}</div>
{"".join(_table(report, name) for name in tables)}
</body></html>
"""


def _urgency(report: ValidationReport, name: str) -> int:
    """Return 2 for a table with a failure, 1 for one with a warning, else 0."""
    if any(result.table == name for result in report.failures):
        return 2
    return int(any(result.table == name for result in report.warnings))


def _table(report: ValidationReport, name: str) -> str:
    urgency = _urgency(report, name)
    outcome = ("passed", "warned", "failed")[urgency]
    results = sorted((result for result in report.results if result.table == name), key=lambda result: result.passed)
    rows = (
        "".join(_check(result) for result in results) or '<tr><td colspan="3">Its contract has no checks.</td></tr>'
    )
    return (
        f"<details{' open' if urgency else ''}><summary><code>{escape(name)}</code>"
        f'<span class="rows">{report.row_counts[name]:,} rows</span>'
        f'<span class="{outcome}">{MARKS[outcome]}, {len(results)} checks</span></summary>'
        '<table><tr><th>outcome</th><th>check</th><th class="count">rows that break it</th></tr>'
        f"{rows}</table></details>\n"
    )


def _check(result: CheckResult) -> str:
    outcome = "passed" if result.passed else "failed" if result.severity == "fail" else "warned"
    lines = [line for line in (result.detail, *result.examples) if line]
    more = f"<pre>{escape(chr(10).join(lines))}</pre>" if lines else ""
    count = "" if result.bad_rows is None else f"{result.bad_rows:,}"
    return (
        f'<tr><td class="{outcome}">{MARKS[outcome]}</td><td>{escape(result.check)}{more}</td>'
        f'<td class="count">{count}</td></tr>'
    )
