import dataclasses
import json
import math
import shutil
import warnings
from copy import deepcopy

import keras
import numpy as np
import pytest
import tensorflow as tf
from bounds import COSINE, DESCRIPTOR
from PIL import Image
from small_model import small_model
from small_run import tiny_model

import dolg_zoo
from dolg_zoo.embedders.base import MAX_IMAGE_PIXELS, BadImagesError
from dolg_zoo.models import DOLGNet
from dolg_zoo.preprocessing import load_image
from dolg_zoo.presets.origins import EMBEDDED


@pytest.fixture
def photos(tmp_path, rng):
    """Six photographs of four sizes, as files."""
    for i, (height, width) in enumerate(
        [(64, 96), (64, 96), (80, 64), (64, 64), (64, 96), (96, 300)]
    ):
        coarse = Image.fromarray(rng.integers(0, 256, (4, 6, 3), dtype="uint8"))
        coarse.resize((width, height), Image.Resampling.BICUBIC).save(tmp_path / f"{i}.png")
    return sorted(tmp_path.glob("*.png"))


def by_hand(model, path, scale=1.0):
    """One image's descriptor by the network's own output, with no batching."""
    array = model.image_converter(Image.open(path).convert("RGB"), scale)
    descriptor = np.asarray(model.net(array[None]))[0].astype(np.float64)
    return descriptor / np.linalg.norm(descriptor)


def test_embeds_photographs_of_several_sizes_in_their_order(model, photos):
    descriptors = model.embed(photos, batch_size=2)
    assert descriptors.shape == (6, 512) and descriptors.dtype == np.float32
    assert np.allclose(np.linalg.norm(descriptors, axis=1), 1, atol=COSINE)
    for photo, descriptor in zip(photos, descriptors, strict=True):
        assert np.allclose(descriptor, by_hand(model, photo), atol=DESCRIPTOR)


def test_a_path_a_text_an_image_and_an_array_are_the_same(model, photos):
    image = Image.open(photos[0])
    kinds = [photos[0], str(photos[0]), image, np.asarray(image), np.asarray(image, "float32")]
    expected = model.embed(photos[0])
    assert expected.shape == (1, 512)
    for kind in kinds:
        assert np.allclose(model.embed(kind), expected, atol=COSINE)
    assert np.allclose(model.embed(kinds), np.repeat(expected, 5, axis=0), atol=DESCRIPTOR)
    assert np.allclose(model.embed(np.stack([image, image])), expected, atol=DESCRIPTOR)


def test_it_says_what_it_is_and_how_it_is_copied(model):
    assert repr(model) == "<DOLG of small: 512 dimensions, images of size 256 (short_side)>"
    with pytest.raises(TypeError, match=r"would not return a DOLG. Use copy\.deepcopy\(model\)"):
        keras.models.clone_model(model)
    image = np.zeros((64, 64, 3), "uint8")
    np.testing.assert_allclose(deepcopy(model).embed(image), model.embed(image), atol=COSINE)


def test_a_folder_is_embedded_in_sorted_order(model, photos):
    assert np.allclose(model.embed(photos[0].parent), model.embed(photos), atol=DESCRIPTOR)


def test_several_scales_are_the_mean_of_each(model, photos):
    scales = (0.7071, 1.0, 1.4142)
    mean = sum(by_hand(model, photos[2], scale) for scale in scales)
    found = model.embed(photos[2:5], scales=scales)[0]
    assert np.allclose(found, mean / np.linalg.norm(mean), atol=DESCRIPTOR)


def test_the_scales_are_the_presets_own_unless_given(model, photos):
    converter = dataclasses.replace(model.image_converter, scales=(0.5, 1.0))
    own = dolg_zoo.DOLG(model.net, converter)
    expected = model.embed(photos[:2], scales=(0.5, 1.0))
    assert np.array_equal(own.embed(photos[:2]), expected)
    assert not np.array_equal(own.embed(photos[:2], scales=(1.0,)), expected)


def test_a_crop_is_described_by_what_is_in_its_box(model, photos):
    image = np.asarray(load_image(photos[0]))
    found = model.embed([dolg_zoo.Crop(photos[0], (10, 20, 140.9, 150))])
    assert np.array_equal(found, model.embed(image[20:150, 10:140]))


def test_an_image_has_a_bound_over_all_its_scales(model, photos):
    """A stranger's preset may ask for 16 scales, each up to eight times its size."""
    side = math.isqrt(MAX_IMAGE_PIXELS // 4) // 32 * 32
    converter = dolg_zoo.ImageConverter(size=side, multiple_of=32, scales=(1.0,) * 5)
    greedy = dolg_zoo.DOLG(model.net, converter)
    with pytest.raises(BadImagesError, match="choose smaller or fewer scales"):
        greedy.embed(photos[0])


@pytest.mark.parametrize("scales", [(), (0,), (1, -1), 1.0, ("big",), (float("inf"),)])
def test_says_which_scales_are_wrong(model, photos, scales):
    with pytest.raises(ValueError, match="scales must be"):
        model.embed(photos, scales=scales)


@pytest.mark.parametrize("batch_size", [0, 2.5, None, True])
def test_says_which_batch_size_is_wrong(model, photos, batch_size):
    with pytest.raises(ValueError, match=f"batch_size .* got {batch_size!r}"):
        model.embed(photos, batch_size=batch_size)


@pytest.mark.parametrize("images", [None, 5, {"a.jpg": 1}])
def test_says_what_can_be_embedded(model, images):
    with pytest.raises(TypeError, match="a path, a PIL image, an array"):
        model.embed(images)


def test_names_the_place_of_what_is_no_image_before_any_work(model, photos):
    with pytest.raises(TypeError, match="number 1 is None"):
        model.embed([photos[0], None, photos[1]])


def test_an_image_too_large_for_the_network_is_skipped_and_said_so(photos, monkeypatch):
    net = tiny_model(size=None).net
    original = dolg_zoo.DOLG(net, dolg_zoo.ImageConverter(size=None, mode="original"))
    monkeypatch.setattr("dolg_zoo.embedders.base.MAX_IMAGE_PIXELS", 100 * 100 + 200 * 200 - 1)
    small, large = Image.new("RGB", (99, 99)), Image.new("RGB", (100, 100))
    with pytest.raises(BadImagesError, match=r"choose smaller or fewer scales") as caught:
        original.embed([small, large], scales=(1.0, 2.0))
    assert list(caught.value.skipped) == [1]


def test_large_images_go_through_the_network_in_small_batches(photos, monkeypatch):
    net = tiny_model(size=None).net
    original = dolg_zoo.DOLG(net, dolg_zoo.ImageConverter(size=None, mode="original"))
    monkeypatch.setattr("dolg_zoo.embedders.base.BATCH_PIXELS", 2 * 100 * 100)
    sizes = []
    infer = original.infer
    monkeypatch.setitem(
        original.__dict__, "infer", lambda batch: sizes.append(batch.shape) or infer(batch)
    )
    original.embed([Image.new("RGB", (100, 100))] * 5)
    assert [size[0] for size in sizes] == [2, 2, 1]


def test_a_bad_image_does_not_cost_the_good_ones(model, photos):
    good = model.embed(photos)
    photos[2].write_bytes(b"not an image")
    photos[4].write_bytes(photos[4].read_bytes()[:100])
    with pytest.raises(BadImagesError) as caught:
        model.embed(photos, batch_size=2)
    assert list(caught.value.skipped) == [2, 4]
    assert caught.value.kept == [0, 1, 3, 5]
    assert np.allclose(caught.value.descriptors, good[[0, 1, 3, 5]], atol=DESCRIPTOR)
    assert "2.png" in str(caught.value) and "2 of 6 images" in str(caught.value)


def test_a_turned_photograph_equals_its_upright_twin(model, tmp_path, rng):
    upright = Image.fromarray(rng.integers(0, 256, (60, 90, 3), dtype="uint8"))
    upright.save(tmp_path / "upright.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held a quarter turn off
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    a, b = model.embed([tmp_path / "upright.png", tmp_path / "turned.png"])
    assert np.allclose(a, b, atol=COSINE)


def test_a_stream_is_embedded_as_it_comes(model, photos):
    drawn = []

    def stream():
        for _ in range(15):
            for photo in photos:
                drawn.append(photo)
                yield photo

    found = model.embed_each(stream(), batch_size=2)
    index, descriptor = next(found)
    assert descriptor.shape == (512,) and 0 <= index < len(drawn) < 40
    rest = [index for index, _ in found]
    assert sorted([index, *rest]) == list(range(90))


def test_similarity_is_the_cosine(model, photos):
    descriptors = model.embed(photos)
    assert np.allclose(model.similarity(photos), descriptors @ descriptors.T, atol=DESCRIPTOR)
    across = model.similarity(photos[:2], photos[2:])
    assert np.allclose(across, descriptors[:2] @ descriptors[2:].T, atol=DESCRIPTOR)


def test_is_an_ordinary_keras_model(model, photos, tmp_path):
    batch = np.stack([model.image_converter(Image.open(photo)) for photo in photos[:2]])
    expected = model.embed(photos[:2])
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        assert np.allclose(model(batch), expected, atol=DESCRIPTOR)
    assert np.allclose(model.predict(batch, verbose=0), expected, atol=DESCRIPTOR)
    model.save(tmp_path / "model.keras")
    copy = keras.models.load_model(tmp_path / "model.keras")
    assert isinstance(copy, dolg_zoo.DOLG)
    assert copy.image_converter == model.image_converter
    assert np.array_equal(copy(batch), model(batch))


def test_exports_a_saved_model_that_needs_nothing_else(model, rng, tmp_path):
    model.export(tmp_path / "served", verbose=False)
    served = tf.saved_model.load(tmp_path / "served")
    images = rng.integers(0, 256, (2, 64, 96, 3)).astype("float32")
    assert np.allclose(served.serve(images), model(images), atol=DESCRIPTOR)


def test_is_trained_as_any_keras_model(rng):
    new = tiny_model()
    classifier = keras.Sequential([new, keras.layers.Dense(2)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    classifier.compile(keras.optimizers.Adam(0.01), loss)
    labels = rng.integers(0, 2, 16)
    images = rng.normal(80 + 90 * labels[:, None, None, None], 5, (16, 32, 32, 3))
    before = new.embed(images[0])
    often = np.concatenate([images] * 10), np.concatenate([labels] * 10)
    history = classifier.fit(*often, epochs=2, verbose=0).history["loss"]
    assert history[-1] < 0.7 * history[0]
    assert not np.allclose(new.embed(images[0]), before, atol=1e-3)


def test_a_saved_preset_gives_the_same_descriptors_bit_for_bit(model, photos, tmp_path):
    model.save_to_preset(tmp_path / "mine")
    copy = dolg_zoo.DOLG.from_preset(tmp_path / "mine")
    assert np.array_equal(copy.embed(photos), model.embed(photos))
    assert copy.metadata["license"] == "Apache-2.0"


def test_a_preset_is_loaded_without_its_weights(model, tmp_path):
    model.save_to_preset(tmp_path)
    fresh = dolg_zoo.DOLG.from_preset(tmp_path, load_weights=False)
    assert fresh.net.config == model.net.config
    assert fresh.image_converter == model.image_converter
    assert [w.shape for w in fresh.weights] == [w.shape for w in model.weights]
    kernels = [(a, b) for a, b in zip(fresh.weights, model.weights, strict=True) if a.ndim > 1]
    assert not any(np.array_equal(a, b) for a, b in kernels)
    assert all(np.any(a) for a, _ in kernels)
    assert "preset" not in fresh.metadata and "random" in fresh.metadata["name"]


@pytest.mark.parametrize(
    ("dtype", "variables", "compute"),
    [
        pytest.param("mixed_bfloat16", "float32", "bfloat16", marks=pytest.mark.bfloat16),
        ("float16", "float16", "float16"),
    ],
)
def test_a_preset_is_loaded_in_another_dtype(model, photos, tmp_path, dtype, variables, compute):
    model.save_to_preset(tmp_path / "preset")
    before = keras.config.dtype_policy().name
    loaded = dolg_zoo.DOLG.from_preset(tmp_path / "preset", dtype=dtype)
    assert keras.config.dtype_policy().name == before
    convolution = next(layer for layer in loaded.net.backbone.layers if layer.weights)
    assert (convolution.variable_dtype, convolution.compute_dtype) == (variables, compute)
    # bfloat16 has 8 bits of a number: an error of 1/256 in each layer, of which there are few
    cosines = (loaded.embed(photos) * model.embed(photos)).sum(axis=1)
    np.testing.assert_allclose(cosines, 1, rtol=0, atol=0.01)
    with pytest.raises(ValueError, match="no_dtype"):
        dolg_zoo.DOLG.from_preset(tmp_path / "preset", dtype="no_dtype")


def test_the_presets_are_listed_with_what_is_known_of_them():
    assert list(dolg_zoo.DOLG.presets) == dolg_zoo.list_presets()
    known = dolg_zoo.DOLG.presets["dolg_resnet50_gldv2"]
    assert known["descriptor_dim"] == 512 and known["figures"][0].value == 81.2


def test_what_is_said_of_a_presets_training_is_not_said_of_what_is_made_of_it(
    embedded_model, tmp_path
):
    name = "dolg_efficientnet_lite_b0_places_products"
    shutil.copytree(EMBEDDED / name, tmp_path / "copy")
    for model in (embedded_model, dolg_zoo.DOLG.from_preset(tmp_path / "copy")):
        model.save_to_preset(tmp_path / "mine")
        metadata = json.loads((tmp_path / "mine" / "metadata.json").read_text())
        assert metadata["derived_from"] == name
        assert not {"name", "description", "dataset", "provenance"} & metadata.keys()


def test_what_one_says_of_ones_own_preset_stays(model, tmp_path):
    mine = {"name": "mine", "description": "of me", "dataset": "photographs", "provenance": "home"}
    dolg_zoo.DOLG(model.net, model.image_converter, mine).save_to_preset(tmp_path / "a")
    dolg_zoo.DOLG.from_preset(tmp_path / "a").save_to_preset(tmp_path / "b")
    assert mine.items() <= json.loads((tmp_path / "b" / "metadata.json").read_text()).items()


def test_a_preset_keeps_the_margin_head_that_it_is_saved_with(model, tmp_path, rng):
    head = dolg_zoo.layers.ArcFace(5, scale=20, margin=0.3)
    head([rng.normal(size=(2, 512)), np.array([0, 4])])
    model.save_to_preset(tmp_path / "mine", margin_head=head)
    back = dolg_zoo.DOLG.from_preset(tmp_path / "mine").load_margin_head()
    assert type(back) is dolg_zoo.layers.ArcFace
    assert (back.num_classes, back.scale, back.margin) == (5, 20.0, 0.3)
    assert np.array_equal(back.centers, head.centers)
    model.save_to_preset(tmp_path / "mine")
    with pytest.raises(dolg_zoo.PresetError, match="keeps no margin head"):
        dolg_zoo.DOLG.from_preset(tmp_path / "mine").load_margin_head()


@pytest.mark.parametrize(
    "head",
    [
        lambda: dolg_zoo.layers.ArcFace(5),  # not built
        lambda: keras.layers.Dense(5),
        lambda: built(dolg_zoo.layers.CurricularFace(5, momentum=0.5)),
    ],
)
def test_another_head_is_not_kept(model, tmp_path, head):
    with pytest.raises(dolg_zoo.PresetError, match="keeps a margin head that is built"):
        model.save_to_preset(tmp_path / "mine", margin_head=head())
    assert not (tmp_path / "mine").exists()


def built(layer):
    layer.build((None, 512))
    return layer


def test_at_a_size_that_is_no_multiple_of_32_the_converter_snaps(model):
    assert model.image_converter.multiple_of == 32
    array = model.image_converter(Image.new("RGB", (333, 251)))
    assert array.shape[0] % 32 == array.shape[1] % 32 == 0


# constructors


def test_there_is_a_constructor_for_every_backbone():
    for name in dolg_zoo.BACKBONES:
        construct = getattr(dolg_zoo, f"dolg_{name}")
        assert construct.__name__ == f"dolg_{name}" in dolg_zoo.__all__
        assert name in construct.__doc__


def test_a_tag_gives_the_preset(embedded_model):
    named = dolg_zoo.dolg_efficientnet_lite_b0(pretrained="places_products")
    for weight, other in zip(named.weights, embedded_model.weights, strict=True):
        assert np.array_equal(weight, other)
    assert named.image_converter == embedded_model.image_converter


def test_a_tag_that_does_not_exist_lists_those_that_do():
    with pytest.raises(ValueError, match=r"Tags of efficientnet_lite_b0: 'imagenet'"):
        dolg_zoo.dolg_efficientnet_lite_b0(pretrained="gldv2")
    with pytest.raises(ValueError, match=r"none so far.*To make one"):
        dolg_zoo.dolg_efficientnet_b0(pretrained="gldv2")


def test_a_tag_without_weights_says_what_there_is_and_how_to_make_one():
    with pytest.raises(ValueError) as caught:
        dolg_zoo.dolg_efficientnet_b0(pretrained="gldv2")
    message = str(caught.value)
    assert "No gldv2 weights have been published for efficientnet_b0" in message
    assert "there are dolg_resnet101_gldv2, dolg_resnet50_gldv2" in message
    assert "`dolg train gldv2 --architecture efficientnet_b0 -o FOLDER`" in message
    assert "`dolg publish FOLDER/preset USER/NAME`" in message


def test_who_asks_for_an_imagenet_preset_is_told_of_the_backbone_weights():
    with pytest.raises(ValueError, match='write backbone_weights="imagenet"'):
        dolg_zoo.dolg_resnet50(pretrained="imagenet")


def test_overrides_do_not_go_with_a_preset():
    with pytest.raises(ValueError, match="descriptor_dim"):
        dolg_zoo.dolg_efficientnet_lite_b0(pretrained="imagenet", descriptor_dim=8)


def test_backbone_weights_come_without_a_network_where_they_ship():
    new = dolg_zoo.dolg_efficientnet_lite_b0(backbone_weights="imagenet", descriptor_dim=32)
    ships = dolg_zoo.DOLG.from_preset("dolg_efficientnet_lite_b0_imagenet")
    for ours, theirs in zip(new.net.backbone.weights, ships.net.backbone.weights, strict=True):
        assert np.array_equal(ours, theirs)
    assert new.descriptor_dim == 32
    assert new.net.config.mean == ships.net.config.mean


def test_backbone_weights_without_a_source_list_those_that_have_one(monkeypatch):
    # before the network is built, which takes seconds
    monkeypatch.setattr("dolg_zoo.embedders.constructors.DOLGNet", None)
    with pytest.raises(ValueError, match=r"There is one for: .*efficientnet_b0"):
        dolg_zoo.dolg_mit_b3(backbone_weights="imagenet")
    with pytest.raises(ValueError, match="or None, got 'places'"):
        dolg_zoo.dolg_efficientnet_b0(backbone_weights="places")


def test_overrides_reach_the_network(photos):
    small = dolg_zoo.dolg_resnet18_v2(
        taps=("P3", "P4"), descriptor_dim=16, hidden_dim=8, dilation_rates=()
    )
    assert small.embed(photos[:2]).shape == (2, 16)
    strides = [64 // tensor.shape[1] for tensor in small.net.backbone(np.zeros((1, 64, 64, 3)))]
    assert strides == [8, 16]


def test_a_network_of_one_size_gets_images_of_that_size(photos, tmp_path):
    fixed = dolg_zoo.dolg_resnet18_v2(
        taps=("P2", "P3"), input_shape=(96, 96, 3), hidden_dim=8, dilation_rates=()
    )
    assert fixed.embed(photos[:3]).shape == (3, 512)
    with pytest.raises(ValueError, match="96×96 pixels only"):
        dolg_zoo.DOLG(fixed.net, dolg_zoo.ImageConverter(size=64, mode="short_side"))
    fixed.save_to_preset(tmp_path / "fixed")
    (tmp_path / "fixed" / "metadata.json").write_text("{}")
    (tmp_path / "fixed" / "preprocessor.json").write_text('{"size": 64, "mode": "short_side"}')
    with pytest.raises(dolg_zoo.PresetError, match=r"fixed: .*96×96 pixels only"):
        dolg_zoo.DOLG.from_preset(tmp_path / "fixed")


def test_says_what_it_cannot_be_made_of(model):
    one_channel = dolg_zoo.dolg_resnet18_v2
    with pytest.raises(ValueError, match="takes 1 channel"):
        one_channel(input_shape=(None, None, 1), taps=("P2", "P3"), mean=None, std=None)
    with pytest.raises(ValueError, match="must be an ImageConverter, got 5"):
        dolg_zoo.DOLG(model.net, 5)
    with pytest.raises(ValueError, match="call dolg_resnet50_v1"):
        dolg_zoo.dolg_resnet18_v2(backbone="resnet50_v1")


def test_says_that_a_classifier_gives_no_descriptor(model):
    classifier = DOLGNet(model.net.backbone, num_classes=3)
    with pytest.raises(ValueError, match="3 classes"):
        dolg_zoo.DOLG(classifier, model.image_converter)


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize`")
@pytest.mark.parametrize("mode", ["int8", "float8"])
def test_a_quantized_model_is_not_saved_over_a_good_one(tmp_path, mode):
    model = small_model()
    model.save_to_preset(tmp_path / "mine")
    model.save(tmp_path / "mine.keras")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    model.quantize(mode)
    message = f"global_projection, descriptor are quantized to {mode}.* before quantize"
    with pytest.raises(dolg_zoo.errors.PresetError, match=message):
        model.save_to_preset(tmp_path / "mine")
    with pytest.raises(ValueError, match=message):
        model.save(tmp_path / "mine.keras")
    with pytest.raises(dolg_zoo.errors.PresetError, match=message):
        model.with_margin_head(3, "arcface").save_to_preset(tmp_path / "mine")
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert after == before


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize`")
def test_a_quantized_model_that_cannot_be_converted_says_so(tmp_path):
    model = small_model()
    model.quantize("float8")
    with pytest.raises(dolg_zoo.errors.ExportError, match="cannot be converted to litert"):
        model.export(tmp_path / "x.tflite", "litert", size=(32, 32))
    assert not (tmp_path / "x.tflite").exists()


def test_what_lora_learned_is_saved_with_the_model(tmp_path, rng, monkeypatch):
    model = small_model()
    dense = model.net.get_layer("descriptor")
    dense.enable_lora(2)
    dense.lora_kernel_b.assign(rng.normal(size=dense.lora_kernel_b.shape))
    images = rng.integers(0, 256, (2, 32, 32, 3), np.uint8)
    expected = model.infer(images)
    monkeypatch.setenv("HOME", str(tmp_path))
    model.save("~/mine.keras")
    model.save_to_preset("~/mine")
    for copy in (
        keras.saving.load_model(tmp_path / "mine.keras"),
        dolg_zoo.DOLG.from_preset("~/mine"),
    ):
        np.testing.assert_allclose(copy.infer(images), expected, atol=1e-6)


def test_settings_of_keras_that_no_network_bears_are_named(tmp_path, monkeypatch):
    small_model().save_to_preset(tmp_path)
    for make in (
        lambda: dolg_zoo.DOLG.from_preset(tmp_path),
        lambda: dolg_zoo.dolg_resnet18_v1(pretrained=None),
    ):
        keras.config.set_image_data_format("channels_first")
        try:
            with pytest.raises(ValueError, match=r"^dolg-zoo needs images .*keras\.json"):
                make()
        finally:
            keras.config.set_image_data_format("channels_last")
        with monkeypatch.context() as patch:
            patch.setattr(keras.config, "backend", lambda: "torch")
            with pytest.raises(ValueError, match=r"^dolg-zoo needs .* KERAS_BACKEND=tensorflow"):
                make()
