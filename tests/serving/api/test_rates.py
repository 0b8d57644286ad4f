"""Rates of keys while the wall clock is set."""

import time
from pathlib import Path

import limits
import pytest

from serving.api.access import AccessGate
from serving.api.keys import Key, KeyRing
from serving.api.rates import Rates
from serving.problems import ProblemError
from tests.serving.running import SOON_S, within


@pytest.mark.parametrize("shared", [False, True])
def test_a_clock_that_is_set_back_an_hour_refuses_no_key_for_an_hour(
    shared: bool, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"redis://127.0.0.1:{request.getfixturevalue('redis_port')}?namespace=rates" if shared else None
    ring = KeyRing(tmp_path / "keys.json")
    gate = AccessGate(ring, Rates(tmp_path, url), may_be_open=False)
    key = Key("k1", frozenset(["read"]), limits.parse("3/second"))
    monkeypatch.setattr(KeyRing, "find", lambda *_: key)

    def is_admitted() -> bool:
        try:
            gate.admit("GET", [(b"authorization", b"Bearer x")], "read").send(None)
        except StopIteration:
            return True
        except ProblemError:
            return False
        raise AssertionError("it waits for the network")

    if shared:
        monkeypatch.setattr(AccessGate, "_renewed", _renewed)
    assert within(SOON_S, lambda: not all(is_admitted() for _ in range(10)))
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() - 3_600)
    assert within(SOON_S, is_admitted)


async def _renewed(gate: AccessGate, key: Key, now: float) -> object:
    return gate._rates.renew(key, now)
