"""The page of a night's checks: one HTML file that needs no network and no server.

>>> Path("checks.html").write_text(page(report))
"""

from dataclasses import dataclass, field
from datetime import date
from html import escape

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


STYLE = """
:root { color-scheme: light dark; --line: #8884; --good: #1a7f4b; --bad: #c62828; --warn: #a86500; }
@media (prefers-color-scheme: dark) { :root { --good: #5ccb8f; --bad: #ff7b72; --warn: #e3b341; } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: .2rem; }
.told { margin-top: 0; opacity: .75; }
.sum { display: flex; gap: 1rem; flex-wrap: wrap; margin: 1.2rem 0; }
.sum div { border: 1px solid var(--line); border-radius: .5rem; padding: .5rem 1rem; min-width: 7rem; }
.sum b { display: block; font-size: 1.6rem; line-height: 1.2; }
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
MARKS = {"passed": "✓ holds", "failed": "✗ fails", "warned": "! warns"}


def page(report: ValidationReport) -> str:
    """Return the page of a run's results as HTML: tables with something to tell first and opened."""
    tables = sorted(report.row_counts, key=lambda name: (-_weight(report, name), name))
    passed = sum(result.passed for result in report.results)
    counts = [("passed", passed, "hold"), ("failed", len(report.failures), "fail")]
    counts += [("warned", len(report.warnings), "warn")]
    boxes = "".join(
        f'<div class="{kind if count else ""}"><b>{count:,}</b>{word}</div>' for kind, count, word in counts
    )
    outcome = "stopped the night" if report.failures else "let the night go on"
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Checks of {report.ds}</title><style>{STYLE}</style></head><body>
<h1>Checks of {report.ds}</h1>
<p class="told">Run {escape(report.run)}: {len(report.results):,} checks of {len(tables)} tables {outcome}.
What each asks stands in <code>sql/&lt;table&gt;.yml</code>.</p>
<div class="sum">{boxes}</div>
{"".join(_table(report, name) for name in tables)}
</body></html>
"""


def _weight(report: ValidationReport, name: str) -> int:
    """Return how much a table has to tell: 2 for a failure, 1 for a warning, 0 for neither."""
    if any(result.table == name for result in report.failures):
        return 2
    return int(any(result.table == name for result in report.warnings))


def _table(report: ValidationReport, name: str) -> str:
    weight = _weight(report, name)
    kind = ("passed", "warned", "failed")[weight]
    results = sorted((result for result in report.results if result.table == name), key=lambda result: result.passed)
    rows = "".join(_check(result) for result in results) or '<tr><td colspan="3">Its contract asks nothing.</td></tr>'
    return (
        f"<details{' open' if weight else ''}><summary><code>{escape(name)}</code>"
        f'<span class="rows">{report.row_counts[name]:,} rows</span>'
        f'<span class="{kind}">{MARKS[kind]}, {len(results)} checks</span></summary>'
        '<table><tr><th>outcome</th><th>check</th><th class="count">rows against it</th></tr>'
        f"{rows}</table></details>\n"
    )


def _check(result: CheckResult) -> str:
    kind = "passed" if result.passed else "failed" if result.severity == "fail" else "warned"
    told = [text for text in (result.told, *result.examples) if text]
    more = f"<pre>{escape(chr(10).join(told))}</pre>" if told else ""
    count = "" if result.bad_rows is None else f"{result.bad_rows:,}"
    return (
        f'<tr><td class="{kind}">{MARKS[kind]}</td><td>{escape(result.check)}{more}</td>'
        f'<td class="count">{count}</td></tr>'
    )
