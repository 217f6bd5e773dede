"""What cannot stand in setup.cfg: ``building/backend.py``, which calls this, says what is compiled."""

import sys
from pathlib import Path

from setuptools import setup

sys.path.insert(0, str(Path(__file__).resolve().parent / "building"))
from backend import extra

setup(**extra)
