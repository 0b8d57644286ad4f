"""Name a night by what it is made of: all that landed up to its day, erasures, parameters and code.

>>> run_id(lake, date(2026, 1, 31), Parameters(), "s3://shop/landing")
"""

from datetime import date

from jobs.erasure import erased_users
from jobs.lake import Lake
from jobs.landing import STAGED_AS
from jobs.manifest import code_version, digest_of
from jobs.settings import Parameters


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
    return digest_of([str(ds), *sorted(set(landed)), *erasures, parameters.digest(), code_version()])
