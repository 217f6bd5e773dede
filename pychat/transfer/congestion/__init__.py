"""How much may be in flight, and how fast it may leave: the interface and the controllers to choose from."""

from __future__ import annotations

from collections.abc import Mapping

from pychat.transfer.congestion.base import AckSample, CongestionControl, ControllerFactory
from pychat.transfer.congestion.cubic import Cubic
from pychat.transfer.congestion.model import Model
from pychat.transfer.congestion.newreno import NewReno

#: The one used when nobody chose.
DEFAULT_CONTROLLER = "model"

CONTROLLERS: Mapping[str, ControllerFactory] = {NewReno.name: NewReno, Model.name: Model, "cubic": Cubic}

__all__ = ["CONTROLLERS", "DEFAULT_CONTROLLER", "AckSample", "CongestionControl", "ControllerFactory"]
