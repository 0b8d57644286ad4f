"""Off-policy estimates on Open Bandit Data's small files beside what the policy really earned, for six pairs.

    python -m tests.bench open_bandit

Clicks a thousand rows. The interval is of the difference of two logs; the files know no users.
"""

import numpy as np

from jobs.statistics.effects import TWO_SIDED_95
from jobs.statistics.off_policy import ips, judge, policy_value, snips, trust
from tests.bench.figures import Figure
from tests.jobs.statistics.open_bandit import CAMPAIGNS, log_of, weights_of


def main() -> list[Figure]:
    """Estimate each policy on the other one's log."""
    figures = []
    for campaign in CAMPAIGNS:
        for logged_by, target in (("random", "bts"), ("bts", "random")):
            log, really = log_of(logged_by, campaign), log_of(target, campaign)
            weight = weights_of(logged_by, target, campaign)
            truth = policy_value(really.clicked, really.unit)
            pair = f"{campaign}, {logged_by} to {target}"
            for name, estimator in (("IPS", ips), ("SNIPS", snips)):
                rows = estimator(log.clicked, weight)
                found = policy_value(rows, log.unit)
                error = 1_000 * TWO_SIDED_95 * np.hypot(found.standard_error, truth.standard_error)
                difference = 1_000 * (found.value - truth.value)
                interval = f"95%: {difference - error:+.2f} to {difference + error:+.2f}"
                what = f"{pair}: {name} minus what it earned ({interval})"
                figures.append(Figure(what, difference, "clicks / 1,000", wanted="its interval covers 0"))
            trusted = trust(weight, log.clicked, log.unit)
            word = judge(policy_value(snips(log.clicked, weight) - log.clicked, log.unit), trusted).word
            figures.append(Figure(f"{pair}: effective sample; {word}", trusted.effective_sample, "rows"))
    return figures
