"""One short function a stage: call the builder with what it needs, and say in a few words what came of it.

Each imports its builder when it runs: the builders' libraries take seconds to load, and a task of Airflow runs one
stage or a few.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from jobs.lake.contracts import tables
from jobs.lake.manifest import Manifest
from jobs.lake.tables import (
    CANDIDATES,
    CF,
    CONTENT,
    EXPERIMENT_UNITS,
    EXPLORATION,
    FALLBACK,
    ITEM_LISTS,
    RANKER,
    SETTLED_EVENTS,
    SHOPPER_LISTS,
    TOP_N,
    TOWERS,
    WINDOW_TABLES,
)
from jobs.night.context import NightContext, NightResult

if TYPE_CHECKING:
    from jobs.ranking.ranker_metrics import RankerMetrics


def tables_of_a_night() -> list[str]:
    """Return the tables that every night writes for its own day."""
    return [table for table in tables() if table not in (*WINDOW_TABLES, EXPERIMENT_UNITS, SETTLED_EVENTS)]


def ingest(night: NightContext) -> str:
    from jobs.staging.ingest import ingest as ingest_landing
    from jobs.staging.remarks import remarks_of, shortened

    summary = ingest_landing(night.lake, night.settings.landing, night.ds, night.parameters)
    lines = [str(summary), *shortened(summary.remarks())]
    if night.ds not in summary.built and (before := remarks_of(night.lake, night.ds)).lines:
        lines += [f"remarked when {before.span} was read:", *before.lines]
    return "\n".join(lines)


def features(night: NightContext) -> str:
    from jobs.features import feature_tables
    from jobs.features.missing import what_is_missing

    built = feature_tables.build_if_stale(night.lake, night.ds, night.parameters)
    counts = (
        f"{night.lake.manifest(table, night.ds).row_count:,} {table[9:]}" for table in sorted(feature_tables.TABLES)
    )
    lacks = what_is_missing(night.lake, night.ds)
    return ("" if built else "nothing changed; ") + ", ".join(counts) + (f"\n{lacks}" if lacks else "")


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


def item_lists(night: NightContext) -> str:
    from jobs.models import item_lists as lists

    return _built(night, ITEM_LISTS, lambda: lists.build(night.lake, night.ds), _lists)


def _lists(built: Manifest) -> str:
    counts = (f"{name.replace('_', ' ')} of {count:,} products" for name, count in built.metrics.items())
    return ", ".join(counts)


def label_windows(night: NightContext) -> str:
    from jobs.training import window_record

    found = window_record.build_and_record(night.lake, night.ds, night.fitted_parameters)
    days = ", ".join(str(window.ds) for window in found)
    return f"as of {days}" if days else "none: too few pairs of shopper and product to learn from"


def train_ranker(night: NightContext) -> str:
    from jobs.ranking.ranker_metrics import RankerMetrics
    from jobs.training import train_ranker as ranker
    from jobs.training import window_record

    found = window_record.current_windows(night.lake, night.ds, night.fitted_parameters)
    if found is None:  # another night has built them otherwise since
        found = window_record.build_and_record(night.lake, night.ds, night.fitted_parameters)
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
    from jobs.shelves.top_n import kept_since

    since = kept_since(night.lake, night.ds, night.parameters)
    keep = f"; who did nothing since {since} keeps the shelf of that day" if since else ""
    return _built(
        night,
        CANDIDATES,
        lambda: generate.build(night.lake, night.ds, night.parameters, since),
        lambda built: f"{built.row_count:,} shoppers{keep}",
    )


def rank(night: NightContext) -> str:
    from jobs.experiments.begun import hold_to_begun
    from jobs.shelves import top_n

    hold_to_begun(night.lake, night.parameters.experiments, night.ds)
    since = top_n.kept_since(night.lake, night.ds, night.parameters)
    return _built(
        night,
        TOP_N,
        lambda: top_n.build(night.lake, night.ds, night.parameters, night.run_id, since),
        _places,
    )


def shopper_lists(night: NightContext) -> str:
    from jobs.shelves import shopper_lists as lists

    return _built(
        night,
        SHOPPER_LISTS,
        lambda: lists.build(night.lake, night.ds, night.parameters),
        _places,
    )


def fallback(night: NightContext) -> str:
    from jobs.shelves import fallback as fallback_shelves

    return _built(
        night,
        FALLBACK,
        lambda: fallback_shelves.build(night.lake, night.ds, night.parameters),
        _places,
    )


def exploration(night: NightContext) -> str:
    from jobs.shelves import exploration as pools

    return _built(
        night,
        EXPLORATION,
        lambda: pools.build(night.lake, night.ds, night.parameters),
        lambda built: f"{built.row_count:,} places in {built.metrics['pools']} pools",
    )


def shelf_outcomes(night: NightContext) -> str:
    from jobs.evaluation.shelf_outcomes import build

    found = build(night.lake, night.ds)
    return "\n".join(
        [
            f"{found.exposures:,} products shown, {found.clicks:,} clicks, {found.orders:,} orders",
            *_verdicts(night),
            *_off_policy(night),
        ]
    )


def _off_policy(night: NightContext) -> list[str]:
    """Estimate the night's shelves on the answers of the last days, for the gate of `publish`."""
    from jobs.evaluation.off_policy import build as estimate

    if night.lake.find_manifest(TOP_N, night.ds) is None:
        return []
    found = estimate(night.lake, night.ds)
    return [f"these shelves against those of the last days, {found.line()}"] if found else []


def _verdicts(night: NightContext) -> list[str]:
    """Judge the experiments that run on the day; return a line an arm. None where none runs."""
    from jobs.experiments.outcome import ExperimentOutcomes

    declared = night.parameters.experiments
    if not declared.running(night.ds):
        ExperimentOutcomes.withdraw(night.lake, night.ds)
        return []
    from jobs.experiments.analysis import analyse_all
    from jobs.experiments.units import build as build_units
    from jobs.features.exposure_outcomes import FOLLOW_MINUTES, PLACES

    limits = {"places": PLACES, "follow_minutes": FOLLOW_MINUTES}
    build_units(night.lake, night.ds, declared, limits)
    outcomes = analyse_all(night.lake, declared, night.ds)
    outcomes.write(night.lake, night.ds)
    return [line for name, outcome in outcomes.experiments.items() for line in outcome.lines(name)]


def validate(night: NightContext) -> str:
    from jobs.checks.validate import validate as check_tables

    names = tables_of_a_night()
    if night.parameters.experiments.running(night.ds):
        names = sorted([*names, EXPERIMENT_UNITS])
    return str(check_tables(night.lake, names, night.ds, night.run_id[:12]))


def publish(night: NightContext) -> str:
    from jobs.experiments.running import running_for
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
        experiments=running_for(night.parameters.experiments, night.ds),
    )
    manifest = published.manifest
    night.result = NightResult(
        night.ds,
        night.run_id,
        manifest.version,
        published.live,
        published.reason,
        night.progress.timings,
        refused=manifest.is_held_back and not published.live,
        promoted=published.promoted,
        users=manifest.users,
        items=manifest.items,
    )
    state = "live" if published.live else "not live"
    return f"{manifest.version} is {state}: {published.reason}"


def report(night: NightContext) -> str:
    from jobs.reporting.report import build

    currency = night.parameters.report.currency
    return f"{night.lake.root}/{build(night.lake, night.ds, night.settings.store, currency)[0]}"


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
