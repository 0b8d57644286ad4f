"""How long a deployment keeps what it derives and what it is told: `[retention]` of topshelf.toml.

No part of a run's identity: a night makes the same bytes whatever is kept.
"""

from typing import Annotated

from pydantic import Field

from jobs.config.fields import Section


class Retention(Section):
    """Days after which `topshelf maintain` removes something."""

    derived_days: Annotated[
        int,
        Field(
            ge=77,
            le=3650,
            description="Days that features, artifacts and marts are kept: windows up to 76 days old are used again.",
        ),
    ] = 80
    reports_days: Annotated[
        int,
        Field(
            ge=1,
            le=28,
            description="Days that reports, validation pages and run records are kept: they may quote erased rows.",
        ),
    ] = 28
    exposures_days: Annotated[
        int, Field(ge=77, le=3650, description="Days that landed exposures are kept, for training and evaluation.")
    ] = 400
