from typing import Any, Protocol

from dolg_zoo.embedders.dolg import DOLG
from dolg_zoo.preprocessing import ImageConverter

class Constructor(Protocol):
    __name__: str
    def __call__(
        self,
        pretrained: str | None = None,
        backbone_weights: str | None = None,
        *,
        image_converter: ImageConverter | None = None,
        **overrides: Any,
    ) -> DOLG: ...

def constructor(architecture: str) -> Constructor: ...

dolg_csp_darknet_l: Constructor
dolg_csp_darknet_m: Constructor
dolg_csp_darknet_s: Constructor
dolg_csp_darknet_tiny: Constructor
dolg_csp_darknet_xl: Constructor
dolg_densenet121: Constructor
dolg_densenet169: Constructor
dolg_densenet201: Constructor
dolg_eca_nfnet_l0: Constructor
dolg_eca_nfnet_l1: Constructor
dolg_eca_nfnet_l2: Constructor
dolg_efficientnet_b0: Constructor
dolg_efficientnet_b1: Constructor
dolg_efficientnet_b2: Constructor
dolg_efficientnet_b3: Constructor
dolg_efficientnet_b4: Constructor
dolg_efficientnet_b5: Constructor
dolg_efficientnet_b6: Constructor
dolg_efficientnet_b7: Constructor
dolg_efficientnet_lite_b0: Constructor
dolg_efficientnet_lite_b1: Constructor
dolg_efficientnet_lite_b2: Constructor
dolg_efficientnet_lite_b3: Constructor
dolg_efficientnet_lite_b4: Constructor
dolg_efficientnet_v2_b0: Constructor
dolg_efficientnet_v2_b1: Constructor
dolg_efficientnet_v2_b2: Constructor
dolg_efficientnet_v2_b3: Constructor
dolg_efficientnet_v2_l: Constructor
dolg_efficientnet_v2_m: Constructor
dolg_efficientnet_v2_s: Constructor
dolg_mit_b0: Constructor
dolg_mit_b1: Constructor
dolg_mit_b2: Constructor
dolg_mit_b3: Constructor
dolg_mit_b4: Constructor
dolg_mit_b5: Constructor
dolg_mobilenet_v3_large: Constructor
dolg_mobilenet_v3_small: Constructor
dolg_nfnet_f0: Constructor
dolg_nfnet_f1: Constructor
dolg_nfnet_f2: Constructor
dolg_nfnet_f3: Constructor
dolg_resnest50: Constructor
dolg_resnest101: Constructor
dolg_resnest200: Constructor
dolg_resnest269: Constructor
dolg_resnet18_v1: Constructor
dolg_resnet18_v2: Constructor
dolg_resnet34_v1: Constructor
dolg_resnet34_v2: Constructor
dolg_resnet50: Constructor
dolg_resnet50_v1: Constructor
dolg_resnet50_v2: Constructor
dolg_resnet101: Constructor
dolg_resnet101_v1: Constructor
dolg_resnet101_v2: Constructor
dolg_resnet152: Constructor
dolg_resnet152_v1: Constructor
dolg_resnet152_v2: Constructor
