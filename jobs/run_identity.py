"""Name a night by what it is made of: all that landed up to its day, erasures, parameters, code, and JAX.

>>> run_id(lake, date(2026, 1, 31), Parameters(), "s3://shop/landing")
"""

from datetime import date

from jobs.erasure import erased_users
from jobs.lake import Lake
from jobs.landing import STAGED_AS
from jobs.manifest import code_version, digest_of
from jobs.settings import Parameters
from jobs.two_tower import jax_version


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
    jax = jax_version() if parameters.two_tower else None
    towers = [f"jax={jax}"] if jax else []
    return digest_of([str(ds), *sorted(set(landed)), *erasures, *towers, parameters.digest(), code_version()])
