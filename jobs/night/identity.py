"""Name a night by what it is made of: what landed up to its day, erasures, parameters, experiments, code, and JAX.

>>> run_id(lake, date(2026, 1, 31), Parameters(), "s3://shop/landing")
"""

from datetime import date

from jobs.config.parameters import Parameters
from jobs.experiments.running import running_for
from jobs.lake.code_version import code_of
from jobs.lake.lake import Lake
from jobs.lake.manifest import digest_of
from jobs.lake.tables import BUILT_BY, EXPERIMENT_UNITS, STAGED_AS
from jobs.landing.tombstones import erased_users
from jobs.models.towers import jax_version

CODE = (
    *sorted({built.module for name, built in BUILT_BY.items() if name != EXPERIMENT_UNITS}),
    "jobs.publishing.publish",
)
"""The modules that make a snapshot. A change in the report's, or in an analysis, is no other night."""


def run_id(lake: Lake, ds: date, parameters: Parameters, landing: str) -> str:
    """Return the night's identity, as hex; the day's staging has to stand."""
    landed = [
        f"{key}={value}"
        for table in STAGED_AS.values()
        for day in lake.days(table)
        if day <= ds
        for key, value in sorted(lake.manifest(table, day).inputs.items())
    ]
    erased = erased_users(landing).digest()
    erasures = [erased] if erased else []
    # With JAX there are towers, so a night with it is another than one without.
    jax = jax_version() if parameters.models.two_tower.enabled else None
    towers = [f"jax={jax}"] if jax else []
    shaped_by = [*erasures, *towers, *running_for(parameters.experiments, ds).identity()]
    return digest_of([str(ds), *sorted(set(landed)), *shaped_by, parameters.digest(), code_of(*CODE).digest])
