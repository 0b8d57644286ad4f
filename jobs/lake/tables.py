"""The one registry of table and artifact names, and of the stage that builds each.

>>> remedy("marts/top_n", date(2026, 1, 31))
'run topshelf stage rank --ds 2026-01-31'
"""

from dataclasses import dataclass
from datetime import date

SHARDS = 8
"""Files of a table that is keyed by user. A user's shard is crc32(user_id) % SHARDS, in tables and snapshots."""

INTERACTIONS, ITEMS, USERS = "staging/interactions", "staging/items", "staging/users"
EXPOSURES, QUARANTINE = "staging/exposures", "staging/quarantine"
STAGED_AS = {"events": INTERACTIONS, "items": ITEMS, "users": USERS, "exposures": EXPOSURES}
"""The staging table of each landing table."""

ITEM, USER, USER_ITEM = "features/item", "features/user", "features/user_item"
NEWCOMER, USER_CATEGORY, SESSION_ITEM = "features/newcomer", "features/user_category", "features/session_item"
USER_TABLES = (USER, NEWCOMER)
SETTLED_EVENTS = "features/settled_events"
"""Has a day in four weeks, of an old shop."""

ALS_CHOICE, CF, CONTENT, TOWERS = "artifacts/als_choice", "artifacts/cf", "artifacts/content", "artifacts/towers"
ITEM_LISTS = "artifacts/item_lists"
RANKER = "artifacts/ranker"
WINDOW_CF = "artifacts/window_cf"
"""Like CF, of a training window: fitted with the values of the night that the window teaches, not of its own day."""

CANDIDATES, TOP_N = "marts/candidates", "marts/top_n"
SHOPPER_LISTS, FALLBACK, EXPLORATION = "marts/shopper_lists", "marts/fallback", "marts/exploration"
USUAL_PRICE = "marts/usual_price"
EXAMPLES, LABELS, SHOWN = "marts/examples", "marts/labels", "marts/shown"
WINDOW_TABLES = (EXAMPLES, LABELS, SHOWN)
"""Tables that training windows have and a night's own day has not."""
EXPERIMENT_UNITS = "marts/experiment_units"
"""Has the days on which experiments run."""

HELD_OUT = "held_out"
"""The folder of the lake that holds a second lake: the shop without its held-out pairs."""


@dataclass(frozen=True)
class BuiltBy:
    """The stage that builds a table or an artifact, and the module whose code decides what is in it."""

    stage: str
    module: str


BUILT_BY = {
    **dict.fromkeys((INTERACTIONS, ITEMS, USERS, EXPOSURES, QUARANTINE), BuiltBy("ingest", "jobs.staging.ingest")),
    **dict.fromkeys(
        (ITEM, USER, NEWCOMER, USER_ITEM, USER_CATEGORY, SESSION_ITEM),
        BuiltBy("features", "jobs.features.feature_tables"),
    ),
    SETTLED_EVENTS: BuiltBy("features", "jobs.features.event_history"),
    ALS_CHOICE: BuiltBy("choose_als", "jobs.models.als_choice"),
    CF: BuiltBy("train_cf", "jobs.models.collaborative"),
    CONTENT: BuiltBy("train_content", "jobs.models.content"),
    TOWERS: BuiltBy("train_towers", "jobs.models.train_towers"),
    ITEM_LISTS: BuiltBy("item_lists", "jobs.models.item_lists"),
    WINDOW_CF: BuiltBy("label_windows", "jobs.models.collaborative"),
    LABELS: BuiltBy("label_windows", "jobs.training.windows"),
    SHOWN: BuiltBy("label_windows", "jobs.training.windows"),
    EXAMPLES: BuiltBy("label_windows", "jobs.training.examples"),
    RANKER: BuiltBy("train_ranker", "jobs.training.train_ranker"),
    CANDIDATES: BuiltBy("candidates", "jobs.candidates.generate"),
    TOP_N: BuiltBy("rank", "jobs.shelves.top_n"),
    SHOPPER_LISTS: BuiltBy("shopper_lists", "jobs.shelves.shopper_lists"),
    USUAL_PRICE: BuiltBy("fallback", "jobs.shelves.fallback"),
    FALLBACK: BuiltBy("fallback", "jobs.shelves.fallback"),
    EXPLORATION: BuiltBy("exploration", "jobs.shelves.exploration"),
    EXPERIMENT_UNITS: BuiltBy("shelf_outcomes", "jobs.experiments.units"),
}
"""By table or artifact name, in the order of the night."""


def written_by(stage: str) -> tuple[str, ...]:
    """Return the tables and artifacts that a stage builds."""
    return tuple(name for name, built in BUILT_BY.items() if built.stage == stage)


def remedy(name: str, ds: date) -> str:
    """Return what to run where a day of a table or an artifact is missing."""
    return f"run topshelf stage {BUILT_BY[name].stage} --ds {ds}"
