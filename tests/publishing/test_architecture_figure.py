import numpy as np
import pytest
from PIL import ImageDraw, ImageFont

from dolg_zoo.drawing import style
from dolg_zoo.models import DOLGConfig, DOLGNet
from dolg_zoo.publishing import Architecture, Tap, architecture_figure, architecture_of

LONG = "a_layer_with_a_name_that_someone_liked_" * 5
CONFIGS = {
    "official": DOLGConfig.official(backbone="resnet50", mean=(0.5,) * 3, std=(0.5,) * 3),
    "paper": DOLGConfig.paper(backbone="resnet101", input_shape=(224, 224, 3)),
    "dongkyuk": DOLGConfig.dongkyuk(backbone="resnet101", mean=(0.5,) * 3, std=(0.5,) * 3),
    "whitened": DOLGConfig(backbone="resnet50", mean=(0.5,) * 3, std=(0.5,) * 3, whitened_dim=256),
    "extreme": DOLGConfig(dilation_rates=tuple(range(1001, 1017)), gem_power="channel"),
}


def architecture(config, name="P4"):
    return Architecture(config, config.backbone or "its own", Tap(name, 16, 7), Tap("P5", 32, 9), 1)


@pytest.fixture
def drawn(monkeypatch):
    """What is drawn: the boxes' corners, and the corners of each text."""
    boxes, texts = [], []
    rectangle, text = ImageDraw.ImageDraw.rounded_rectangle, ImageDraw.ImageDraw.text

    def note_rectangle(self, corners, *arguments, **options):
        boxes.append(corners)
        return rectangle(self, corners, *arguments, **options)

    def note_text(self, place, words, fill, font, anchor):
        texts.append((words, self.textbbox(place, words, font, anchor), font))
        return text(self, place, words, fill, font, anchor)

    monkeypatch.setattr(ImageDraw.ImageDraw, "rounded_rectangle", note_rectangle)
    monkeypatch.setattr(ImageDraw.ImageDraw, "text", note_text)
    return boxes, texts


def inside(inner, outer):
    return (
        outer[0] < inner[0] and outer[1] < inner[1] and inner[2] < outer[2] and inner[3] < outer[3]
    )


@pytest.mark.parametrize("name", CONFIGS)
def test_no_box_covers_another_and_every_text_is_in_one(name, drawn):
    picture = architecture_figure(architecture(CONFIGS[name], LONG if name == "extreme" else "P4"))
    boxes, texts = drawn
    for number, (left, top, right, bottom) in enumerate(boxes):
        assert inside((left, top, right, bottom), (0, 0, *picture.size))
        for a, b, c, d in boxes[:number]:
            assert right < a or c < left or bottom < b or d < top
    for words, corners, _ in texts:
        assert any(inside(corners, box) for box in boxes), words
    assert len(texts) == 2 * len(boxes)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_letter_is_one_that_the_font_has(name, drawn):
    architecture_figure(architecture(CONFIGS[name]))
    font = ImageFont.load_default(20)
    missing = bytes(font.getmask("\uffff"))
    letters = {letter for words, _, _ in drawn[1] for letter in words if letter != " "}
    assert [letter for letter in letters if bytes(font.getmask(letter)) == missing] == []


def test_a_name_in_letters_that_the_font_lacks_is_escaped_or_drawn_with_another(drawn, monkeypatch):
    monkeypatch.setattr("matplotlib.font_manager.findSystemFonts", list)
    style._font_of.cache_clear()
    architecture_figure(architecture(CONFIGS["official"], "写真_é"))
    style._font_of.cache_clear()
    (words,) = [words for words, _, _ in drawn[1] if words.startswith("Local map")]
    assert words == r"Local map: \u5199\u771f_é"


def test_the_variants_show_what_they_differ_in(drawn):
    said = {}
    for name, config in CONFIGS.items():
        drawn[1].clear()
        architecture_figure(architecture(config))
        said[name] = " / ".join(words for words, _, _ in drawn[1])
    assert "Multi-atrous" not in said["official"] and "Normalise" in said["official"]
    assert "3x3 dilated 6, 12, 18, 1x1, image average" in said["paper"]
    assert "224x224 pixels" in said["paper"] and "Normalise" not in said["paper"]
    assert "3x3 dilated 3, 6, 9, image average" in said["dongkyuk"]
    assert "power p = 3, fixed" in said["dongkyuk"]
    assert "each with its weight" in said["dongkyuk"]
    assert "one weight a position" in said["paper"]
    assert "PCA whitening / L2-normalised, 512 to 256 / " in said["whitened"]
    assert "whitening" not in said["paper"]


def test_equal_networks_give_equal_pictures_on_a_light_page():
    picture, again = (architecture_figure(architecture(CONFIGS["paper"])) for _ in range(2))
    np.testing.assert_array_equal(np.asarray(picture), np.asarray(again))
    assert picture.mode == "RGB"
    assert {picture.getpixel(corner) for corner in ((0, 0), (1759, 0), (0, 1000))} == {(255,) * 3}


def test_taps_are_described_by_stride_and_channels():
    net = DOLGNet(config=DOLGConfig.official(backbone="efficientnet_lite_b0", taps=("P3", "P5")))
    found = architecture_of(net)
    assert (found.local, found.global_) == (Tap("P3", 8, 40), Tap("P5", 32, 1280))
    assert found.backbone == "efficientnet_lite_b0"
    assert found.parameters == sum(int(np.prod(weight.shape)) for weight in net.weights)


def test_a_backbone_of_its_own_is_described_by_its_layers(model):
    found = architecture_of(model.net)
    assert found.backbone == "its own, of 3 layers"
    assert [(tap.stride, tap.channels) for tap in (found.local, found.global_)] == [(4, 5), (8, 7)]
