"""One short function a stage: call the builder with what it needs, and say in a few words what came of it.

Each imports its builder when it runs: the builders' libraries take seconds to load, and a task of Airflow runs one
stage or a few.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from jobs.lake.contracts import tables
from jobs.lake.manifest import Manifest
from jobs.lake.tables import CANDIDATES, CF, CONTENT, EXPLORATION, FALLBACK, RANKER, TOP_N, TOWERS, WINDOW_TABLES
from jobs.night.context import NightContext, NightResult

if TYPE_CHECKING:
    from jobs.ranking.ranker_metrics import RankerMetrics


def tables_of_a_night() -> list[str]:
    """Return the tables that a night writes for its own day."""
    return [table for table in tables() if table not in WINDOW_TABLES]


def ingest(night: NightContext) -> str:
    from jobs.staging.ingest import ingest as ingest_landing

    return str(ingest_landing(night.spark, night.lake, night.settings.landing, night.ds, night.parameters))


def features(night: NightContext) -> str:
    from jobs.features import feature_tables

    built = feature_tables.build_if_stale(night.spark, night.lake, night.ds, night.parameters)
    counts = (f"{night.lake.manifest(table, night.ds).row_count:,} {table[9:]}" for table in tables("features"))
    return ("" if built else "nothing changed; ") + ", ".join(counts)


def choose_als(night: NightContext) -> str:
    from jobs.models import als_choice

    choice = als_choice.build(night.lake, night.ds, night.parameters).metrics_as(als_choice.AlsChoice)
    values = f"factors {choice.factors}, alpha {choice.alpha}, regularization {choice.regularization}"
    return f"{values}; {choice.because}"


def train_cf(night: NightContext) -> str:
    from jobs.models import collaborative

    return _built(
        night,
        CF,
        lambda: collaborative.build(night.lake, night.ds, night.fitted_parameters),
        _facts,
    )


def train_content(night: NightContext) -> str:
    from jobs.models import content

    return _built(
        night,
        CONTENT,
        lambda: content.build(night.lake, night.ds, night.parameters),
        _facts,
    )


def train_towers(night: NightContext) -> str:
    from jobs.models import train_towers as towers

    return _built(
        night,
        TOWERS,
        lambda: towers.build(night.lake, night.ds, night.parameters),
        _facts,
    )


def label_windows(night: NightContext) -> str:
    from jobs.training import window_record

    found = window_record.build_and_record(night.spark, night.lake, night.ds, night.fitted_parameters)
    return "as of " + ", ".join(str(window.ds) for window in found)


def train_ranker(night: NightContext) -> str:
    from jobs.ranking.ranker_metrics import RankerMetrics
    from jobs.training import train_ranker as ranker
    from jobs.training import window_record

    found = window_record.current_windows(night.lake, night.ds, night.fitted_parameters)
    if found is None:  # another night has built them otherwise since
        found = window_record.build_and_record(night.spark, night.lake, night.ds, night.fitted_parameters)
    return _built(
        night,
        RANKER,
        lambda: ranker.build(night.lake, night.ds, found, night.parameters),
        lambda built: _heads(built.metrics_as(RankerMetrics)),
    )


def _heads(metrics: "RankerMetrics") -> str:
    heads = (f"{head} ({facts.positives:,} of {facts.examples:,})" for head, facts in metrics.heads.items())
    return ", ".join(heads) or metrics.orders_by


def candidates(night: NightContext) -> str:
    from jobs.candidates import generate

    return _built(
        night,
        CANDIDATES,
        lambda: generate.build(night.spark, night.lake, night.ds, night.parameters),
        lambda built: f"{built.row_count:,} shoppers",
    )


def rank(night: NightContext) -> str:
    from jobs.shelves import top_n

    return _built(
        night,
        TOP_N,
        lambda: top_n.build(night.spark, night.lake, night.ds, night.parameters, night.run_id),
        _places,
    )


def fallback(night: NightContext) -> str:
    from jobs.shelves import fallback as fallback_shelves

    return _built(
        night,
        FALLBACK,
        lambda: fallback_shelves.build(night.spark, night.lake, night.ds, night.parameters),
        _places,
    )


def exploration(night: NightContext) -> str:
    from jobs.shelves import exploration as pools

    return _built(
        night,
        EXPLORATION,
        lambda: pools.build(night.spark, night.lake, night.ds, night.parameters),
        lambda built: f"{built.row_count:,} places in {built.metrics['pools']} pools",
    )


def validate(night: NightContext) -> str:
    from jobs.checks.validate import validate as check_tables

    return str(check_tables(night.lake, tables_of_a_night(), night.ds, night.run_id[:12]))


def publish(night: NightContext) -> str:
    from jobs.publishing.publish import build as publish_night
    from jobs.publishing.publish import executors

    published = publish_night(
        night.lake,
        night.ds,
        night.settings.store,
        run_id=night.run_id,
        force=night.force,
        archive_url=night.settings.archive,
        landing=night.settings.landing,
        spark=executors(),
    )
    manifest = published.manifest
    failed = any(gate.outcome == "failed" for gate in manifest.gates) and not manifest.forced
    night.result = NightResult(
        night.ds,
        night.run_id,
        manifest.version,
        published.live,
        published.reason,
        night.progress.timings,
        refused=failed and not published.live,
    )
    state = "live" if published.live else "not live"
    return f"{manifest.version} is {state}: {published.reason}"


def report(night: NightContext) -> str:
    from jobs.reporting.report import build

    return f"{night.lake.root}/{build(night.lake, night.ds, night.settings.store)[0]}"


def _built(night: NightContext, name: str, build: Callable[[], Manifest], describe: Callable[[Manifest], str]) -> str:
    """Build one table or artifact; describe it, and say so if it was kept."""
    before = night.lake.find_manifest(name, night.ds)
    built = build()
    return ("kept, nothing changed; " if built == before else "") + describe(built)


def _facts(built: Manifest) -> str:
    """Return metrics as words; those of an index stay in the manifest."""
    return ", ".join(f"{name} {value}" for name, value in built.metrics.items() if not isinstance(value, dict))


def _places(built: Manifest) -> str:
    return f"{built.row_count:,} places"
