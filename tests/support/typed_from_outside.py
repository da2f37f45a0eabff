"""What a type checker sees of the public names. Never run: mypy reads it, and fails if it differs.

Where an error is expected, mypy complains if there is none (`warn_unused_ignores`).
"""

# ruff: noqa: B018

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import assert_type

    import dolg_zoo
    from dolg_zoo.embedders.base import ImageEmbedder
    from dolg_zoo.embedders.dolg import DOLG
    from dolg_zoo.presets.folder import Preset

    assert_type(dolg_zoo.DOLG.from_preset(), DOLG)
    assert_type(dolg_zoo.embedder(), ImageEmbedder)
    assert_type(dolg_zoo.dolg_resnet50(pretrained="gldv2"), DOLG)
    assert_type(dolg_zoo.presets.read_preset("folder"), Preset)
    dolg_zoo.DOLG(image_converter=1)  # type: ignore[call-arg, arg-type]
    dolg_zoo.dolg_resnet50(pretrained=1)  # type: ignore[arg-type]
    dolg_zoo.no_such_name  # type: ignore[attr-defined]
