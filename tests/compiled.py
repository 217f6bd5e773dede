"""A plugin of pytest, ``-p tests.compiled``: no test is run unless all is compiled that setup.cfg says is."""

from __future__ import annotations

import configparser
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def origins() -> dict[str, str]:
    """From which file an import of each module would come."""
    metadata = configparser.ConfigParser()
    metadata.read(ROOT / "setup.cfg", encoding="utf-8")
    names = [name for kind in ("compiled", "in_c") for name in metadata["pychat"][kind].split()]
    if sys.platform == "win32":
        names.remove("_channel")
    specs = {name: find_spec(f"pychat.{name}") for name in names}
    return {name: str(spec.origin) if spec else "nowhere" for name, spec in specs.items()}


def pytest_configure() -> None:
    """Refuse to go on with a module that is not compiled."""
    found = origins()
    pure = [origin for origin in found.values() if not origin.endswith(tuple(EXTENSION_SUFFIXES))]
    if pure or not found:
        raise pytest.UsageError(f"Not compiled: {' '.join(pure) or 'anything'}")


def pytest_report_header() -> str:
    """The modules, and the folder where they are."""
    found = origins()
    return (
        f"compiled: {' '.join(found)}, in {' '.join({str(Path(origin).parent) for origin in found.values()})}"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what changes our own classes, which those that are compiled do not allow."""
    out = [item for item in items if item.get_closest_marker("patches")]
    config.hook.pytest_deselected(items=out)
    items[:] = [item for item in items if item not in out]
