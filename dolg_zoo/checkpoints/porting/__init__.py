"""Map the tensors of upstream checkpoints to our variables: pure functions on arrays."""

from dolg_zoo.checkpoints.porting.layouts import Layout, MarginHead
from dolg_zoo.checkpoints.porting.timm import port_timm
from dolg_zoo.checkpoints.porting.upstreams import LAYOUTS
from dolg_zoo.errors import PortingError

__all__ = ["LAYOUTS", "Layout", "MarginHead", "PortingError", "port_timm"]
