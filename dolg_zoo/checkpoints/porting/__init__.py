"""Name maps from upstream checkpoints to our variables: pure functions, arrays in, arrays out."""

from dolg_zoo.checkpoints.porting.dongkyuk_pytorch import port_dongkyuk_pytorch
from dolg_zoo.checkpoints.porting.layouts import LAYOUTS, Layout
from dolg_zoo.checkpoints.porting.margin_head import MarginHead
from dolg_zoo.checkpoints.porting.official_paddle import port_official_paddle
from dolg_zoo.checkpoints.porting.official_pytorch import port_official_pytorch
from dolg_zoo.checkpoints.porting.timm import port_timm
from dolg_zoo.errors import PortingError

__all__ = [
    "LAYOUTS",
    "Layout",
    "MarginHead",
    "PortingError",
    "port_dongkyuk_pytorch",
    "port_official_paddle",
    "port_official_pytorch",
    "port_timm",
]
