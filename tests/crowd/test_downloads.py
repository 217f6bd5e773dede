"""What the downloads leave behind is removed without holding the disk up."""

from __future__ import annotations

import os
from pathlib import Path

from ..system.programs import until
from .downloads import SLICE, Remover


def test_bit_by_bit(tmp_path: Path) -> None:
    """Never more than a slice at once, one file after the other, and then they are gone."""
    freed: list[tuple[str, int]] = []

    def truncate(path: Path, size: int) -> None:
        freed.append((path.name, path.stat().st_size - size))
        os.truncate(path, size)

    sizes = {"a": 2 * SLICE + 1, "b": SLICE, "c": 0}
    for name, size in sizes.items():
        (tmp_path / name).touch()
        os.truncate(tmp_path / name, size)
    remover = Remover(0.0, truncate)
    try:
        for name in sizes:
            remover.remove(tmp_path / name)
        until(lambda: not [*tmp_path.iterdir()], "their end")
    finally:
        remover.close()
    assert freed == [("a", SLICE), ("a", SLICE), ("a", 1), ("b", SLICE)]


def test_left(tmp_path: Path) -> None:
    """Who closes it waits for no file."""
    (tmp_path / "a").touch()
    os.truncate(tmp_path / "a", 1000 * SLICE)
    remover = Remover()
    remover.remove(tmp_path / "a")
    remover.close()
    assert (tmp_path / "a").stat().st_size > 0
