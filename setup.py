"""What cannot stand in setup.cfg: ``building/backend.py``, which calls this, says what is compiled."""

from backend import extra
from setuptools import setup

setup(**extra)
