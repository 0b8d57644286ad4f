"""Which earlier days teach: the training windows of a night, and the day whose choice of ALS's values it uses."""

from datetime import date, timedelta

from jobs.config.parameters import Parameters

A_SUNDAY, A_WEEK, EVERY = date(2026, 1, 4), timedelta(weeks=1), timedelta(weeks=4)


def sunday_of(day: date) -> date:
    """Return the Sunday that a day's week began with: the day itself, if it is one.

    >>> sunday_of(date(2026, 1, 14))
    datetime.date(2026, 1, 11)
    """
    return day - timedelta(days=day.isoweekday() % 7)


def choice_day(first_day: date, ds: date, parameters: Parameters) -> date | None:
    """Return the Sunday whose choice night `ds` uses, or None of a shop that is too young for one."""
    windows = window_days(first_day, ds, parameters)
    if not windows:
        return None
    day = windows[0] - (windows[0] - A_SUNDAY) % EVERY
    history = (day - timedelta(days=parameters.training.horizon_days) - first_day).days + 1
    return day if history >= parameters.training.windows.min_history_days else None


def young_choice_day(first_day: date, ds: date) -> date:
    """Return the day whose choice night `ds` uses where `choice_day` is None: the week's Sunday, or `ds` at first.

    >>> young_choice_day(date(2026, 1, 1), date(2026, 1, 14))
    datetime.date(2026, 1, 11)
    """
    sunday = sunday_of(ds)
    return sunday if sunday - first_day >= A_WEEK else ds


def window_days(first_day: date, ds: date, parameters: Parameters) -> list[date]:
    """Return the as-of days, newest first: Sundays that leave `min_history_days` of events before them."""
    newest = sunday_of(ds - timedelta(days=parameters.training.horizon_days))
    days = [
        newest - timedelta(days=parameters.training.horizon_days * n)
        for n in range(parameters.training.windows.max_count)
    ]
    return [day for day in days if (day - first_day).days + 1 >= parameters.training.windows.min_history_days]
