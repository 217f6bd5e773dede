"""No test finds what another has kept, and none touches what belongs to whoever runs them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred

from .streams import end_all, endings


@pytest.fixture(autouse=True)
def own_state(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the clients of this test keep what they keep."""
    folder = tmp_path_factory.mktemp("state")
    monkeypatch.setenv("XDG_STATE_HOME", str(folder))
    monkeypatch.setenv("LOCALAPPDATA", str(folder))
    return folder / "pychat"


@pytest.fixture(autouse=True)
def nothing_stays(clean_reactor: None) -> Iterator[None]:
    """What a test that failed has left running is no trouble of those after it."""
    yield
    if endings:
        pytest_twisted.blockon(Deferred.fromCoroutine(end_all()))
