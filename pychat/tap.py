"""What Twisted's runners look for: the options and the maker of the service."""

from .options import Options
from .service import make_service as makeService

__all__ = ["Options", "makeService"]
