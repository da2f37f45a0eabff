"""Decoding of image files; expected pixels are formulas on arrays made here."""

import io
import os
import pickle
import struct
import subprocess
import sys
import textwrap
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from dolg_zoo.preprocessing import BadImageError, load_image

RGB = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
SMOOTH = np.stack(
    np.broadcast_arrays(np.arange(64)[:, None] * 3, np.arange(80) * 2, np.uint8(90)), axis=-1
).astype(np.uint8)


def encoded(image, fmt, **options):
    file = io.BytesIO()
    image.save(file, fmt, **options)
    return file.getvalue()


@pytest.fixture
def pixels(tmp_path):
    """Write bytes or an image to a file and return what load_image makes of it."""

    def read(content, fmt="PNG", *, name="picture", max_pixels=2**28, **options):
        if isinstance(content, Image.Image):
            content = encoded(content, fmt, **options)
        path = tmp_path / name
        path.write_bytes(content)
        image = load_image(path, max_pixels=max_pixels)
        assert image.mode == "RGB"
        return np.asarray(image)

    return read


def png_chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width, height, bits, colour_type, rows, *chunks):
    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + b"".join(png_chunk(*chunk) for chunk in chunks)
        + png_chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
        + png_chunk(b"IEND", b"")
    )


def flat_grey_jpeg(width, height):
    """A huge grey JPEG, made without encoding it.

    With the standard tables a block equal to its neighbour is six bits, 00 (no change of the
    mean) and 1010 (nothing else), so four blocks are three bytes.
    """
    assert width % 16 == height % 16 == 0
    small = encoded(Image.new("L", (8, 8), 128), "JPEG")
    frame = small.index(b"\xff\xc0") + 5
    scan = small.index(b"\xff\xda") + 10
    head = small[:frame] + struct.pack(">HH", height, width) + small[frame + 4 : scan]
    return head + b"\x28\xa2\x8a" * (width * height // 256) + b"\xff\xd9"


# Formats and modes


@pytest.mark.parametrize(
    ("fmt", "options"),
    [
        ("PNG", {}),
        ("BMP", {}),
        ("PPM", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("WEBP", {"lossless": True}),
        ("JPEG2000", {}),
    ],
)
def test_lossless_formats_come_back_exactly(pixels, fmt, options):
    assert np.array_equal(pixels(Image.fromarray(RGB), fmt, **options), RGB)


@pytest.mark.parametrize("fmt", ["JPEG", "WEBP", "AVIF"])
def test_lossy_formats_come_back_nearly(pixels, fmt):
    if fmt == "AVIF" and not features.check("avif"):
        pytest.skip("this build of Pillow has no AVIF")
    result = pixels(Image.fromarray(SMOOTH), fmt, quality=95)
    assert np.abs(result.astype(int) - SMOOTH).mean() < 2


# HEIC, which pillow-heif writes and reads


def heic(image, **options):
    heif = pytest.importorskip("pillow_heif")
    file = io.BytesIO()
    heif.from_pillow(image).save(file, quality=95, **options)
    return file.getvalue()


def test_a_heic_comes_back_nearly_whatever_its_name(pixels):
    result = pixels(heic(Image.fromarray(SMOOTH)), name="photo.jpg")
    assert np.abs(result.astype(int) - SMOOTH).mean() < 2


@pytest.mark.parametrize("brand", [b"heic", b"mif1"])
def test_a_heic_is_known_by_all_its_brands(pixels, brand):
    content = heic(Image.fromarray(SMOOTH))
    assert content[4:8] == b"ftyp" and b"mif1" in content[16:40] and b"heic" in content[16:40]
    assert pixels(content[:8] + brand + content[12:]).shape == SMOOTH.shape


@pytest.mark.skipif(not features.check("avif"), reason="this build of Pillow has no AVIF")
def test_an_avif_that_begins_as_a_heic_may_is_an_avif(pixels, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    content = encoded(Image.fromarray(SMOOTH), "AVIF", quality=95)
    assert content[8:12] == b"avif" in content[16:40]
    result = pixels(content[:8] + b"mif1" + content[12:])
    assert np.abs(result.astype(int) - SMOOTH).mean() < 2


def test_the_orientation_of_a_heic_is_undone(pixels):
    as_stored = pixels(heic(Image.fromarray(SMOOTH)))
    for orientation, upright in UPRIGHT.items():
        turned = pixels(heic(Image.fromarray(SMOOTH), exif=exif_of(orientation).tobytes()))
        assert turned.shape == upright(SMOOTH).shape
        assert np.abs(turned.astype(int) - upright(as_stored)).mean() < 2, orientation


def test_the_alpha_of_a_heic_is_laid_over_white(pixels):
    alpha = np.zeros(SMOOTH.shape[:2], np.uint8)
    alpha[:, 40:] = 255
    result = pixels(heic(Image.fromarray(np.dstack([SMOOTH, alpha])))).astype(int)
    assert result[:, :36].min() >= 253
    assert np.abs(result[:, 44:] - SMOOTH[:, 44:]).mean() < 2


def test_the_main_picture_of_a_heic_is_taken(pixels):
    heif = pytest.importorskip("pillow_heif")
    file = heif.from_pillow(Image.new("RGB", (32, 16), "red"))
    file.add_from_pillow(Image.fromarray(SMOOTH))
    content = io.BytesIO()
    file.save(content, quality=95, primary_index=1)
    result = pixels(content.getvalue())
    assert np.abs(result.astype(int) - SMOOTH).mean() < 2


def test_a_heic_above_the_limit_is_refused(pixels):
    content = heic(Image.fromarray(SMOOTH))
    with pytest.raises(BadImageError, match="80 x 64 pixels are more than the limit of 5119"):
        pixels(content, max_pixels=5119)


@pytest.mark.parametrize("kept", [0.02, 0.3, 0.6, 0.9, 0.98])
def test_a_heic_cut_short_is_bad(pixels, kept):
    content = heic(Image.fromarray(RGB))
    with pytest.raises(BadImageError):
        pixels(content[: int(len(content) * kept)])


def test_a_heic_in_memory_is_decoded_as_the_file_is(tmp_path):
    content = heic(Image.fromarray(SMOOTH))
    (tmp_path / "a.heic").write_bytes(content)
    expected = np.asarray(load_image(tmp_path / "a.heic"))
    assert np.array_equal(np.asarray(load_image(content)), expected)
    assert np.array_equal(np.asarray(load_image(io.BytesIO(content))), expected)


def test_the_content_decides_the_format_and_not_the_name(pixels):
    assert np.array_equal(pixels(Image.fromarray(RGB), "PNG", name="photo.jpg"), RGB)


@pytest.mark.parametrize("name", ["a b.png", "café 写真.png", "two\nlines.png"])
def test_unusual_names_are_read(pixels, name):
    assert np.array_equal(pixels(Image.fromarray(RGB), name=name), RGB)


def test_a_path_may_be_text(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "a.png")
    assert np.array_equal(np.asarray(load_image(str(tmp_path / "a.png"))), RGB)


def test_one_pixel_is_an_image(pixels):
    assert pixels(Image.new("RGB", (1, 1), (1, 2, 3))).tolist() == [[[1, 2, 3]]]


def test_grey_is_repeated_in_all_channels(pixels):
    grey = RGB[:, :, 0]
    assert np.array_equal(pixels(Image.fromarray(grey)), np.repeat(grey[:, :, None], 3, axis=2))


def test_one_bit_images_are_black_and_white(pixels):
    bits = RGB[:, :, 0] > 100
    expected = np.repeat(np.where(bits, 255, 0)[:, :, None], 3, axis=2)
    assert np.array_equal(pixels(Image.fromarray(bits)), expected)


RAMP = np.arange(65536, dtype=np.uint16).reshape(256, 256)
RAMP_IN_8_BITS = np.rint(RAMP / 257)


@pytest.mark.parametrize("fmt", ["PNG", "TIFF"])
def test_16_bit_grey_is_divided_by_257(pixels, fmt):
    result = pixels(Image.fromarray(RAMP), fmt)
    assert all(np.array_equal(result[:, :, channel], RAMP_IN_8_BITS) for channel in range(3))


def test_16_bit_grey_in_a_big_endian_tiff_is_divided_by_257(pixels):
    image = Image.frombytes("I;16B", (256, 256), RAMP.astype(">u2").tobytes())
    assert np.array_equal(pixels(image, "TIFF")[:, :, 0], RAMP_IN_8_BITS)


def test_16_bit_grey_in_a_pgm_is_divided_by_257(pixels):
    content = b"P5 256 256 65535\n" + RAMP.astype(">u2").tobytes()
    assert np.array_equal(pixels(content)[:, :, 0], RAMP_IN_8_BITS)


def test_32_bit_integers_are_taken_for_16_bit_values(pixels):
    assert np.array_equal(
        pixels(Image.fromarray(RAMP.astype(np.int32)), "TIFF")[:, :, 0], RAMP_IN_8_BITS
    )


@pytest.mark.parametrize("beyond", [-1, 65536])
def test_32_bit_integers_beyond_16_bits_are_refused(pixels, beyond):
    with pytest.raises(BadImageError, match=str(beyond)):
        pixels(Image.fromarray(np.full((2, 2), beyond, np.int32)), "TIFF")


@pytest.mark.parametrize("white", [1, 255, 65535])
def test_floating_point_grey_takes_the_smallest_range_that_holds_it(pixels, white):
    values = (np.arange(256, dtype=np.float32) / 255 * white).reshape(16, 16)
    assert np.array_equal(pixels(Image.fromarray(values), "TIFF")[:, :, 0].ravel(), np.arange(256))


@pytest.mark.parametrize("value", [np.nan, np.inf, -1, 1e6])
def test_floating_point_grey_beyond_every_range_is_refused(pixels, value):
    values = np.array([[0, value, 1]], np.float32)
    with pytest.raises(BadImageError, match="floating-point"):
        pixels(Image.fromarray(values), "TIFF")


def tiff_of_16_bits(samples, bits, photometric):
    body = samples
    entries = [
        (256, 4, 4),  # width
        (257, 4, 1),  # height
        (258, 3, bits),
        (259, 3, 1),  # no compression
        (262, 3, photometric),
        (273, 4, 8),  # where the pixels are
        (277, 3, 1),  # samples a pixel
        (278, 4, 1),  # rows a strip
        (279, 4, len(body)),
    ]
    ifd = struct.pack("<H", len(entries))
    for tag, kind, value in entries:
        ifd += struct.pack("<HHI", tag, kind, 1) + struct.pack("<I", value)
    return b"II*\0" + struct.pack("<I", 8 + len(body)) + body + ifd + bytes(4)


def test_16_bit_tiff_whose_zero_is_white_is_turned_round(pixels):
    samples = np.array([0, 257, 257 * 100, 65535], "<u2").tobytes()
    assert pixels(tiff_of_16_bits(samples, 16, 0))[0, :, 0].tolist() == [255, 254, 155, 0]


def test_12_bit_tiff_is_scaled_by_its_own_white(pixels):
    samples = bytes.fromhex("000 800 400 fff".replace(" ", ""))
    assert pixels(tiff_of_16_bits(samples, 12, 1))[0, :, 0].tolist() == [0, 128, 64, 255]


def test_16_bit_rgb_keeps_the_high_byte(pixels):
    values = np.random.default_rng(1).integers(0, 65536, (5, 7, 3)).astype(">u2")
    content = png(7, 5, 16, 2, [row.tobytes() for row in values])
    assert np.abs(pixels(content) - values / 257).max() <= 1


def test_palette_colours_are_exact(pixels):
    palette = np.random.default_rng(2).integers(0, 256, (256, 3), dtype=np.uint8)
    indices = np.arange(256, dtype=np.uint8).reshape(16, 16)
    image = Image.fromarray(indices)
    image.putpalette(palette.tobytes())
    assert np.array_equal(pixels(image), palette[indices])


# Transparency


def over_white(colour, alpha):
    alpha = alpha[..., None] / 255
    return colour * alpha + 255 * (1 - alpha)


ALPHA = np.random.default_rng(3).integers(0, 256, RGB.shape[:2], dtype=np.uint8)


@pytest.mark.parametrize(("fmt", "options"), [("PNG", {}), ("WEBP", {"lossless": True})])
def test_alpha_is_laid_over_white(pixels, fmt, options):
    image = Image.fromarray(np.dstack([RGB, ALPHA]))
    result = pixels(image, fmt, exact=True, **options)
    assert np.abs(result - over_white(RGB, ALPHA)).max() <= 0.51


def test_grey_with_alpha_is_laid_over_white(pixels):
    grey = RGB[:, :, :1]
    image = Image.merge("LA", [Image.fromarray(grey[:, :, 0]), Image.fromarray(ALPHA)])
    assert np.abs(pixels(image) - over_white(grey, ALPHA)).max() <= 0.51


def test_a_palette_with_alpha_is_laid_over_white(pixels):
    palette = np.array([[10, 20, 30], [200, 100, 50], [0, 0, 0]], np.uint8)
    alpha = np.array([255, 128, 0], np.uint8)
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8))
    image.putpalette(palette.tobytes())
    result = pixels(image, "PNG", transparency=alpha.tobytes())
    assert np.abs(result[0] - over_white(palette, alpha)).max() <= 0.51


def test_the_transparent_colour_of_a_gif_is_white(pixels):
    image = Image.fromarray(np.array([[0, 1]], np.uint8))
    image.putpalette([10, 20, 30, 200, 100, 50])
    assert pixels(image, "GIF", transparency=1).tolist() == [[[10, 20, 30], [255, 255, 255]]]


def test_the_transparent_value_of_a_16_bit_png_is_white(pixels):
    row = struct.pack(">HHH", 0, 25701, 51400)
    content = png(3, 1, 16, 0, [row], (b"tRNS", struct.pack(">H", 25701)))
    assert pixels(content)[0].tolist() == [[0] * 3, [255] * 3, [200] * 3]


def bmp_of_32_bits(rgba):
    """A BMP whose header names a mask for alpha, as Windows writes it (BITMAPV4HEADER)."""
    height, width = rgba.shape[:2]
    body = rgba[::-1, :, [2, 1, 0, 3]].tobytes()
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    info = struct.pack("<IiiHHIIiiII", 108, width, height, 1, 32, 3, len(body), 0, 0, 0, 0)
    start = 14 + 108
    header = b"BM" + struct.pack("<IHHI", start + len(body), 0, 0, start)
    return header + info + masks + bytes(52) + body


@pytest.mark.parametrize(
    ("fmt", "options"),
    [
        ("PNG", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("WEBP", {"lossless": True, "exact": True}),
        ("JPEG2000", {}),
    ],
)
def test_an_alpha_of_0_everywhere_does_not_hide_the_photograph(pixels, fmt, options):
    image = Image.fromarray(np.dstack([RGB, np.zeros_like(ALPHA)]))
    assert np.array_equal(pixels(image, fmt, **options), RGB)


def test_a_bmp_whose_alpha_is_0_everywhere_is_opaque(pixels):
    assert np.array_equal(pixels(bmp_of_32_bits(np.dstack([RGB, np.zeros_like(ALPHA)]))), RGB)
    result = pixels(bmp_of_32_bits(np.dstack([RGB, ALPHA])))
    assert np.abs(result - over_white(RGB, ALPHA)).max() <= 0.51


@pytest.mark.parametrize("exif", [None, 6])
def test_grey_with_an_alpha_of_0_everywhere_is_opaque(pixels, exif):
    grey = RGB[:, :, 0]
    image = Image.merge("LA", [Image.fromarray(grey), Image.new("L", (60, 40), 0)])
    result = pixels(image, **({"exif": exif_of(exif)} if exif else {}))
    assert np.array_equal(result, UPRIGHT[exif or 1](np.dstack([grey] * 3)))


@pytest.mark.parametrize("colour_type", [4, 6])
def test_16_bits_with_an_alpha_of_0_everywhere_are_opaque(pixels, colour_type):
    channels = {4: 1, 6: 3}[colour_type]
    values = np.random.default_rng(1).integers(0, 65536, (5, 7, channels))
    rows = np.concatenate([values, np.zeros((5, 7, 1), int)], axis=2).astype(">u2")
    result = pixels(png(7, 5, 16, colour_type, [row.tobytes() for row in rows]))
    assert np.abs(result - values / 257).max() <= 1


def test_a_palette_all_of_whose_colours_are_transparent_is_opaque(pixels):
    palette = np.array([[10, 20, 30], [200, 100, 50]], np.uint8)
    image = Image.fromarray(np.array([[0, 1]], np.uint8))
    image.putpalette(palette.tobytes())
    assert pixels(image, "PNG", transparency=bytes(2)).tolist() == [palette.tolist()]


def test_arrays_and_pil_images_with_an_alpha_of_0_everywhere_are_opaque():
    array = np.dstack([RGB, np.zeros_like(ALPHA)])
    assert np.array_equal(load_image(array), RGB)
    image = Image.fromarray(array)
    assert np.array_equal(load_image(image), RGB)
    assert image.mode == "RGBA"


def test_one_opaque_pixel_is_enough_for_transparency(pixels):
    alpha = np.zeros_like(ALPHA)
    alpha[3, 4] = 255
    expected = np.full_like(RGB, 255)
    expected[3, 4] = RGB[3, 4]
    assert np.array_equal(pixels(Image.fromarray(np.dstack([RGB, alpha]))), expected)


# CMYK

CMYK = np.random.default_rng(4).integers(0, 256, (40, 60, 4), dtype=np.uint8)


def from_cmyk(cmyk):
    ink = 255 - cmyk.astype(float)
    return ink[:, :, :3] * ink[:, :, 3:] / 255


def test_cmyk_is_ink_on_white(pixels):
    image = Image.frombytes("CMYK", (60, 40), CMYK.tobytes())
    assert np.abs(pixels(image, "TIFF") - from_cmyk(CMYK)).max() <= 1


@pytest.mark.parametrize("profile", [None, b"a profile that is not applied"])
def test_cmyk_jpeg_is_inverted_as_adobe_writes_it(pixels, profile):
    flat = np.broadcast_to(np.array([200, 100, 20, 40], np.uint8), (16, 16, 4))
    image = Image.frombytes("CMYK", (16, 16), flat.tobytes())
    result = pixels(image, "JPEG", quality=100, subsampling=0, icc_profile=profile)
    assert np.abs(result - from_cmyk(flat)).max() <= 2


# Orientation

UPRIGHT = {  # EXIF 2.3: where the first row and column of the stored picture belong
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a.swapaxes(0, 1)[:, ::-1],
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a.swapaxes(0, 1)[::-1],
}


def exif_of(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.mark.parametrize(
    ("fmt", "options", "orientation"),
    [
        *(("PNG", {}, orientation) for orientation in UPRIGHT),
        ("TIFF", {}, 5),
        ("TIFF", {"compression": "tiff_lzw"}, 6),
        ("WEBP", {"lossless": True}, 7),
        ("JPEG", {"quality": 90}, 8),
    ],
)
def test_exif_turns_are_undone(pixels, fmt, options, orientation):
    image = Image.fromarray(RGB)
    as_stored = pixels(image, fmt, **options)
    turned = pixels(image, fmt, exif=exif_of(orientation), **options)
    assert np.array_equal(turned, UPRIGHT[orientation](as_stored))


@pytest.mark.parametrize("mode", ["I;16", "CMYK", "P", "RGBA"])
def test_exif_turns_are_undone_in_every_mode(pixels, mode):
    images = {
        "I;16": Image.fromarray(RAMP[:40, :60]),
        "CMYK": Image.frombytes("CMYK", (60, 40), CMYK.tobytes()),
        "P": Image.fromarray(RGB).quantize(16),
        "RGBA": Image.fromarray(np.dstack([RGB, ALPHA])),
    }
    as_stored = pixels(images[mode], "TIFF")
    turned = pixels(images[mode], "TIFF", exif=exif_of(6))
    assert np.array_equal(turned, UPRIGHT[6](as_stored))


def test_a_damaged_exif_block_does_not_lose_the_pixels(pixels):
    rows = [row.tobytes() for row in RGB]
    assert np.array_equal(pixels(png(60, 40, 8, 2, rows, (b"eXIf", b"not EXIF at all"))), RGB)


LONG = b"x" * 3_000_000
BESIDE = {
    "zTXt": (b"zTXt", b"Comment\0\0" + zlib.compress(LONG)),
    "iTXt": (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(LONG)),
    "tEXt": (b"tEXt", b"Comment\0" + LONG * 25),
    "iCCP": (b"iCCP", b"ICC profile\0\0" + zlib.compress(LONG)),
    "pHYs": (b"pHYs", b"\0\0\0\1"),  # of nine bytes, four
}


@pytest.mark.parametrize("kind", BESIDE)
@pytest.mark.parametrize("after_the_pixels", [False, True])
def test_what_is_not_pixels_may_be_long_in_a_png_or_wrong(pixels, kind, after_the_pixels):
    content = png(60, 40, 8, 2, [row.tobytes() for row in RGB])
    at = -12 if after_the_pixels else 33  # before IEND, after IHDR
    assert np.array_equal(pixels(content[:at] + png_chunk(*BESIDE[kind]) + content[at:]), RGB)


def test_a_text_with_a_wrong_checksum_does_not_lose_the_pixels(pixels):
    chunk = png_chunk(b"tEXt", b"Comment\0hello")[:-1] + b"?"
    content = png(60, 40, 8, 2, [row.tobytes() for row in RGB])
    assert np.array_equal(pixels(content[:33] + chunk + content[33:]), RGB)


def test_a_long_text_leaves_transparency_and_orientation_as_they_are(pixels):
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8))
    image.putpalette([10, 20, 30, 200, 100, 50, 0, 0, 0])
    content = encoded(image, "PNG", transparency=1, exif=exif_of(6))
    expected = [[[10, 20, 30]], [[255, 255, 255]], [[0, 0, 0]]]
    assert pixels(content).tolist() == expected
    for kind in ("zTXt", "iCCP"):
        long = content[:33] + png_chunk(*BESIDE[kind]) + content[33:]
        assert pixels(long).tolist() == expected


@pytest.mark.parametrize("kind", ["zTXt", "iCCP"])
def test_a_text_is_no_way_round_the_limit_of_pixels(pixels, kind):
    with pytest.raises(BadImageError, match="60 x 40 pixels are more than the limit of 2399"):
        pixels(png(60, 40, 8, 2, [b""], BESIDE["pHYs"], BESIDE[kind]), max_pixels=2399)


@pytest.mark.parametrize("fmt", ["JPEG", "WEBP", "TIFF", "AVIF"])
def test_what_is_not_pixels_may_be_long_in_other_formats(pixels, fmt):
    if fmt == "AVIF" and not features.check("avif"):
        pytest.skip("this build of Pillow has no AVIF")
    image = Image.fromarray(SMOOTH)
    assert np.array_equal(pixels(image, fmt, icc_profile=LONG), pixels(image, fmt))


# More than one frame


@pytest.mark.parametrize(
    ("fmt", "options"), [("GIF", {}), ("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {})]
)
def test_the_first_frame_of_several_is_taken(pixels, fmt, options):
    first, second = Image.new("RGB", (20, 10), "red"), Image.new("RGB", (20, 10), "blue")
    result = pixels(first, fmt, save_all=True, append_images=[second], **options)
    assert np.array_equal(result, np.broadcast_to([255, 0, 0], (10, 20, 3)))


def test_the_first_picture_of_an_mpo_is_taken(pixels):
    first, second = Image.fromarray(SMOOTH), Image.fromarray(255 - SMOOTH)
    result = pixels(first, "MPO", save_all=True, append_images=[second])
    assert np.array_equal(result, pixels(first, "JPEG"))


# PIL images and arrays


def test_a_pil_image_is_converted_and_left_untouched():
    image = Image.fromarray(np.dstack([RGB, ALPHA]))
    image.info["exif"] = exif_of(6).tobytes()
    before = image.tobytes(), image.size, image.mode, dict(image.info)
    result = np.asarray(load_image(image))
    assert np.abs(result - UPRIGHT[6](over_white(RGB, ALPHA))).max() <= 0.51
    assert (image.tobytes(), image.size, image.mode, dict(image.info)) == before


def test_the_result_shares_no_pixels_with_a_pil_image():
    image = Image.fromarray(RGB)
    load_image(image).putpixel((0, 0), (1, 2, 3))
    assert np.array_equal(np.asarray(image), RGB)


def test_a_damaged_pil_image_is_bad():
    content = encoded(Image.fromarray(RGB), "JPEG")
    image = Image.open(io.BytesIO(content[: len(content) // 2]))
    with pytest.raises(BadImageError, match="truncated"):
        load_image(image)


def test_a_lazily_opened_pil_image_may_be_given_to_many_threads(pixels):
    colours = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    file = encoded(Image.fromarray(colours), "PNG")
    with ThreadPoolExecutor(8) as pool:
        for _ in range(10):
            lazy = Image.open(io.BytesIO(file))
            for image in pool.map(load_image, [lazy] * 8):
                assert np.array_equal(image, colours)


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32, np.float64])
def test_arrays_of_every_allowed_dtype(dtype):
    assert np.array_equal(np.asarray(load_image(RGB.astype(dtype))), RGB)


def test_floating_point_arrays_are_rounded_to_nearest():
    array = np.array([[0.4, 0.6, 254.6, 255.0]])
    assert np.asarray(load_image(array))[0, :, 0].tolist() == [0, 1, 255, 255]


@pytest.mark.parametrize("shape", [(40, 60), (40, 60, 1)])
def test_grey_arrays(shape):
    result = np.asarray(load_image(RGB[:, :, 0].reshape(shape)))
    assert np.array_equal(result, np.repeat(RGB[:, :, :1], 3, axis=2))


def test_arrays_with_alpha_are_laid_over_white():
    result = np.asarray(load_image(np.dstack([RGB, ALPHA])))
    assert np.abs(result - over_white(RGB, ALPHA)).max() <= 0.51


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((3, 40, 60), np.uint8), "shape"),
        (np.zeros((1, 40, 60, 3), np.uint8), "shape"),
        (np.zeros((40,), np.uint8), "shape"),
        (np.zeros((0, 60, 3), np.uint8), "no pixels"),
        (np.zeros((4, 4), np.int64), "uint8"),
        (np.zeros((4, 4), bool), "uint8"),
        (np.full((4, 4), "a"), "uint8"),
        (np.array([[0.0, np.nan]]), "nan"),
        (np.array([[0.0, np.inf]]), "inf"),
        (np.array([[-0.5, 1.0]]), "-0.5"),
        (np.array([[0.0, 255.5]]), "255.5"),
    ],
)
def test_other_arrays_are_refused(array, reason):
    with pytest.raises(BadImageError, match=reason) as caught:
        load_image(array)
    assert str(array.dtype) in caught.value.source


def test_floating_point_arrays_scaled_to_1_are_refused_rather_than_taken_for_black():
    with pytest.raises(BadImageError, match=r"\[0, 1\].* by 255"):
        load_image(np.array([[0, 0.5, 1]], np.float32))


def test_floating_point_arrays_of_nothing_but_0_and_1_are_dark_images():
    assert np.array_equal(load_image(np.eye(2)), np.eye(2)[:, :, None].repeat(3, axis=2))


def test_other_types_are_refused():
    with pytest.raises(TypeError, match="not complex"):
        load_image(1j)


def test_the_bytes_of_a_file_are_decoded_as_the_file_is(tmp_path):
    file = tmp_path / "a.png"
    Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3)).save(file)
    assert np.array_equal(load_image(file.read_bytes()), load_image(file))


def test_bytes_that_are_no_image_are_named_by_their_number():
    with pytest.raises(BadImageError, match="image of 5 bytes in memory"):
        load_image(b"a.jpg")


# Files that are no good


@pytest.mark.parametrize(
    ("fmt", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("PNG", {}),
        ("WEBP", {}),
        ("GIF", {}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_deflate"}),
        ("PPM", {}),
        ("JPEG2000", {}),
    ],
)
@pytest.mark.parametrize("kept", [0.02, 0.3, 0.6, 0.9, 0.98])
def test_a_file_cut_short_is_bad(pixels, fmt, options, kept):
    content = encoded(Image.fromarray(RGB), fmt, **options)
    with pytest.raises(BadImageError):
        pixels(content[: int(len(content) * kept)])


def test_a_flipped_byte_in_a_png_is_bad(pixels):
    content = bytearray(encoded(Image.fromarray(RGB), "PNG"))
    content[len(content) // 2] ^= 0xFF
    with pytest.raises(BadImageError):
        pixels(bytes(content))


def test_an_empty_file_is_bad(pixels):
    with pytest.raises(BadImageError, match="empty"):
        pixels(b"")


@pytest.mark.parametrize(
    "content",
    [b"once upon a time", b"%PDF-1.7\n1 0 obj\n", b"<svg xmlns='http://www.w3.org/2000/svg'/>"],
)
def test_what_is_no_raster_image_is_bad(pixels, content):
    with pytest.raises(BadImageError, match="none of the formats JPEG, PNG"):
        pixels(content * 20, name="photo.jpg")


def test_postscript_is_refused_without_calling_a_program(pixels, monkeypatch):
    content = encoded(Image.fromarray(RGB), "EPS")
    called = []
    monkeypatch.setattr(subprocess, "Popen", lambda *args, **kwargs: called.append(args))
    monkeypatch.setattr(os, "system", called.append)
    with pytest.raises(BadImageError, match="none of the formats"):
        pixels(content, name="a.eps")
    assert not called


def test_a_missing_file_is_bad(tmp_path):
    with pytest.raises(BadImageError, match="No such file") as caught:
        load_image(tmp_path / "absent.jpg")
    assert caught.value.source == str(tmp_path / "absent.jpg")
    assert caught.value.reason == "No such file or directory"


def test_a_folder_is_bad(tmp_path):
    with pytest.raises(BadImageError, match="is a folder"):
        load_image(tmp_path)


def test_a_named_pipe_is_bad_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(BadImageError, match="not a regular file"):
        load_image(tmp_path / "pipe.jpg")


def test_a_path_with_a_null_byte_is_bad():
    with pytest.raises(BadImageError, match="null"):
        load_image("a\0.jpg")


def test_running_out_of_memory_is_said_in_words(pixels, monkeypatch):
    def full(*_):
        raise MemoryError

    content = encoded(Image.fromarray(RGB), "PPM")
    monkeypatch.setattr(Image.Image, "load", full)
    with pytest.raises(BadImageError, match="not enough memory"):
        pixels(content)


def test_line_breaks_in_a_name_are_printed_escaped(tmp_path):
    with pytest.raises(BadImageError) as caught:
        load_image(tmp_path / "two\nlines é.jpg")
    assert "\n" not in str(caught.value)
    assert "two\\nlines é.jpg" in str(caught.value)
    assert "two\nlines é.jpg" in caught.value.source


def test_an_error_does_not_keep_the_decoder_alive(pixels):
    with pytest.raises(BadImageError) as caught:
        pixels(encoded(Image.fromarray(RGB), "JPEG")[:-200])
    assert caught.value.__context__ is None


def test_an_error_can_be_sent_between_processes():
    error = pickle.loads(pickle.dumps(BadImageError("a.jpg", "it is empty")))
    assert (error.source, error.reason) == ("a.jpg", "it is empty")


# Large files


def test_a_png_that_claims_65535_x_65535_pixels_is_refused(pixels):
    with pytest.raises(BadImageError, match="65535 x 65535 pixels are more than the limit of 2684"):
        pixels(png(65535, 65535, 8, 6, [b""]))


@pytest.mark.parametrize("fmt", ["PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000"])
def test_a_file_above_the_limit_is_refused(pixels, fmt):
    with pytest.raises(BadImageError, match="60 x 40 pixels are more than the limit of 2399"):
        pixels(Image.fromarray(RGB), fmt, max_pixels=2399)


def test_a_file_at_the_limit_is_read(pixels):
    assert np.array_equal(pixels(Image.fromarray(RGB), max_pixels=2400), RGB)


@pytest.mark.parametrize(("limit", "shape"), [(5120, (64, 80)), (5119, (32, 40)), (100, (8, 10))])
def test_a_jpeg_above_the_limit_is_read_at_half_or_less(pixels, limit, shape):
    result = pixels(Image.fromarray(SMOOTH), "JPEG", quality=95, max_pixels=limit)
    step = 64 // shape[0]
    means = SMOOTH.reshape(64 // step, step, 80 // step, step, 3).mean(axis=(1, 3))
    assert result.shape == (*shape, 3)
    assert np.abs(result - means).mean() < 2


def test_a_reduced_jpeg_is_turned_too(pixels):
    result = pixels(Image.fromarray(SMOOTH), "JPEG", exif=exif_of(6), max_pixels=2000)
    assert result.shape == (40, 32, 3)


def test_a_large_mpo_is_reduced_as_its_first_picture_is(pixels):
    first, second = Image.fromarray(SMOOTH), Image.fromarray(255 - SMOOTH)
    result = pixels(first, "MPO", save_all=True, append_images=[second], max_pixels=2000)
    assert np.array_equal(result, pixels(first, "JPEG", max_pixels=2000))


def test_sides_that_do_not_divide_are_rounded_up(pixels):
    assert pixels(Image.fromarray(SMOOTH[:61, :77]), "JPEG", max_pixels=4000).shape == (31, 39, 3)


def test_a_file_of_too_many_bytes_is_refused_unread(tmp_path):
    path = tmp_path / "a.webp"
    with path.open("wb") as file:
        file.write(b"RIFF\xf8\xff\xff\xbfWEBPVP8 ")
        file.truncate(3 * 2**30)  # a hole: it takes no place on the disk
    with pytest.raises(BadImageError, match=r"3221225472 bytes .* limit of 1073741824"):
        load_image(path)


def test_a_jpeg_too_large_even_at_an_eighth_is_refused(pixels):
    with pytest.raises(BadImageError, match="even at an eighth"):
        pixels(Image.fromarray(SMOOTH), "JPEG", max_pixels=79)


def test_a_progressive_jpeg_above_the_limit_is_refused(pixels):
    with pytest.raises(BadImageError, match="progressive JPEG"):
        pixels(Image.fromarray(SMOOTH), "JPEG", progressive=True, max_pixels=5119)


def test_a_jpeg_of_one_scan_a_channel_above_the_limit_is_refused(pixels):
    content = encoded(Image.fromarray(SMOOTH), "JPEG")
    scan = content.index(b"\xff\xda")
    first_channel_only = b"\xff\xda" + struct.pack(">HBBBBBB", 8, 1, 1, 0, 0, 63, 0)
    with pytest.raises(BadImageError, match="progressive JPEG"):
        pixels(content[:scan] + first_channel_only + content[scan + 14 :], max_pixels=5119)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux' /proc")
def test_a_jpeg_of_20000_x_20000_pixels_is_read_in_bounded_memory(tmp_path):
    path = tmp_path / "huge.jpg"
    path.write_bytes(flat_grey_jpeg(20000, 20000))
    script = """
        import re, sys
        from pathlib import Path
        from dolg_zoo.preprocessing import load_image
        image = load_image(sys.argv[1])
        print(*image.size, *image.getextrema())
        # getrusage would give the parent's peak if that was higher
        print(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
    """
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(script), str(path)]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, check=True)
    what, kibibytes = done.stdout.splitlines()
    assert what == "10000 10000 (128, 128) (128, 128) (128, 128)"
    assert int(kibibytes) < 800 * 1024  # the grey and the RGB picture are 480 MiB


def test_pillows_own_limit_is_neither_felt_nor_changed(pixels, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(pixels(Image.fromarray(RGB), "PNG"), RGB)
        assert pixels(Image.fromarray(SMOOTH), "JPEG").shape == SMOOTH.shape
    assert Image.MAX_IMAGE_PIXELS == 10
