"""Convert any image file, PIL image or array to an upright 8-bit RGB image."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import replace
from io import BytesIO, IOBase, TextIOBase
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from PIL import Image, ImageOps
from PIL.JpegImagePlugin import JpegImageFile

from dolg_zoo._util.files import user_path
from dolg_zoo.errors import BadImageError
from dolg_zoo.preprocessing.crop import Crop

FORMATS = {
    "JPEG": ".jpg",
    "PNG": ".png",
    "WEBP": ".webp",
    "GIF": ".gif",
    "BMP": ".bmp",
    "TIFF": ".tiff",
    "PPM": ".ppm",
    "AVIF": ".avif",
    "JPEG2000": ".jp2",
    "HEIF": ".heic",
}
"""The supported raster formats, by Pillow's names, with their file endings.

An MPO is a JPEG followed by other JPEGs. pillow-heif, in the extra `heif`, reads HEIF (the HEIC of
iPhones).

Pillow's other formats are left out: EPS calls a program, WMF the operating system, and formats
without a signature (TGA, for example) mistake text for a picture.
"""

MAX_PIXELS = 2**28
"""Maximum number of decoded pixels: more than any camera takes in one shot (151 million), and one
GiB at Pillow's four bytes per RGB pixel."""

MAX_BYTES = 2**30
"""Maximum size of a file in bytes: some of Pillow's decoders (WebP, AVIF) read the whole file into
memory first."""

_PREFIX = 64
"""Number of bytes at the beginning of a file that determine its format."""

_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
_ANY_BRANDS = {b"mif1", b"msf1"}
"""Generic brands of the HEIF family, which do not name the compression."""

_CALLERS_IMAGE = threading.Lock()


ImageSource = str | Path | bytes | bytearray | memoryview | IOBase | Image.Image | np.ndarray | Crop
"""An image: a path, the bytes of a file, a file opened in binary mode, a PIL image, an array
(height, width, 3) or a part of one of these."""


class _TooLargeError(ValueError):
    pass


def load_image(source: ImageSource, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Return `source` as an upright 8-bit image in mode RGB.

    An animation gives its first frame. Transparent pixels are drawn over white, the usual page
    behind cut-out pictures of products; an alpha of 0 everywhere, which some programs write in
    32-bit files, is ignored. 16-bit values are scaled by 1/257, so white stays white. 32-bit
    integers are read as 16-bit values; floating-point values as the smallest of the ranges [0, 1],
    [0, 255] and [0, 65535] that contains them. The EXIF orientation is applied, in every format
    that has one; colour profiles are not. Damaged or too long texts in a PNG are ignored.

    Args:
        source: a file of at most `MAX_BYTES` (its content, not its name, decides the format), the
            bytes of such a file or the file opened in binary mode, a PIL image (not changed;
            several threads may use the same one), or an array of shape (H, W), (H, W, 1),
            (H, W, 3: RGB) or (H, W, 4: RGBA), either uint8 or floating-point in [0, 255]. A
            floating-point array with fractions and no value above 1 is refused: it was scaled to
            [0, 1], and would look black. Or a `Crop` of one of these, which gives its box of the
            upright image.
        max_pixels: limits the memory for a file: 4 bytes per pixel for most, up to 16 for some
            (WebP, floating-point TIFF). A larger JPEG is decoded at 1/2, 1/4 or 1/8 of its sides,
            the first that fits (20000 x 20000 gives 10000 x 10000). Not so for a `Crop`, nor for a
            progressive JPEG, which needs the memory of full size anyway. These and all other larger
            files are refused before their pixels are decoded.

    Raises:
        BadImageError: the source is missing, not an image, damaged, truncated, or too large.
            `PIL.ImageFile.LOAD_TRUNCATED_IMAGES` lets the whole process accept truncated files.
        TypeError: `source` is of none of the types above.
    """
    crop, source = (source, source.source) if isinstance(source, Crop) else (None, source)
    name = name_of(source)
    try:
        source = in_memory(source)
        if isinstance(source, np.ndarray):
            image = _from_array(source)
        elif isinstance(source, Image.Image):
            image = _to_rgb(source, owned=False)
        elif isinstance(source, bytes):
            image = _from_stream(BytesIO(source), max_pixels, may_shrink=crop is None)
        else:
            image = _from_file(
                user_path(cast("str | Path", source)), max_pixels, may_shrink=crop is None
            )
        return crop.cut(image) if crop else image
    except Exception as error:  # Pillow's decoders raise nearly every type there is.
        reason = _in_words(error)
    # Raised outside the `except`, the error has no context. The frames of a context would keep
    # images in memory as long as a batch job keeps its errors.
    raise BadImageError(name, reason)


def in_memory(source: Any) -> Any:
    """Return an open file or a buffer as bytes, its position unchanged; else `source` itself."""
    if isinstance(source, Crop):
        inner = in_memory(source.source)
        return source if inner is source.source else replace(source, source=inner)
    name = name_of(source)
    if isinstance(source, bytearray | memoryview):
        return bytes(source)
    if not _is_file(source):
        return source
    try:
        with _CALLERS_IMAGE:
            start = source.tell() if source.seekable() else None
            data = source.read(MAX_BYTES + 1)
            if start and not data:  # the file was just written, or read to its end
                source.seek(0)
                data = source.read(MAX_BYTES + 1)
            if start is not None:
                source.seek(start)
    except (OSError, ValueError) as error:  # such as from a closed file
        reason = str(error)
    else:
        if len(data) <= MAX_BYTES:
            return bytes(data)
        reason = f"it has more than the limit of {MAX_BYTES} bytes"
    raise BadImageError(name, reason)


def is_image_source(value: object) -> bool:
    """Return whether a value has the type of an image, or of a folder of images."""
    return isinstance(value, ImageSource) or _is_file(value)


def _is_file(source: object) -> bool:
    # a `tempfile` object is not an IOBase, but wraps one
    return isinstance(source, IOBase) or (
        hasattr(source, "read") and hasattr(source, "seekable") and hasattr(source, "tell")
    )


def ending_of(file: str | Path) -> str:
    """Return the file ending for an image's content; raise ValueError for unknown formats."""
    with Path(file).open("rb") as opened:
        return FORMATS[_format_of(opened.read(_PREFIX))]


def size_of(file: str | Path) -> tuple[int, int]:
    """Return width and height of an image file as stored, without decoding its pixels."""
    with Path(file).open("rb") as opened:
        try:
            return _open(opened).size
        except OSError:
            raise
        except Exception as error:  # Pillow's decoders raise nearly every type there is.
            raise ValueError(_in_words(error)) from error


def name_of(source: object) -> str:
    """Return an image's path or kind, for messages; raise TypeError for unsupported types."""
    if isinstance(source, Crop):
        return name_of(source.source)
    if isinstance(source, np.ndarray):
        return f"array of shape {source.shape}, {source.dtype}"
    if isinstance(source, Image.Image):
        file = getattr(source, "filename", "")
        return str(file or f"{source.mode} image of {source.width} x {source.height}")
    if isinstance(source, bytes | bytearray | memoryview):
        return f"image of {memoryview(source).nbytes} bytes in memory"
    if isinstance(source, str | Path):
        return str(source)
    if isinstance(getattr(source, "file", source), TextIOBase):
        raise TypeError("an image file is opened in binary mode, open(path, 'rb'), not as text")
    if _is_file(source):
        name = getattr(source, "name", None)
        return name if isinstance(name, str) else f"open {type(source).__name__}"
    raise TypeError(
        "an image is given as a path, the bytes of a file, a file opened in binary mode, a PIL"
        f" image, a NumPy array, or a Crop of one of these, not {type(source).__name__}"
    )


def _in_words(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "not enough memory to decode it"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def _from_array(array: np.ndarray) -> Image.Image:
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise ValueError("its shape must be (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)")
    if array.size == 0:
        raise ValueError("it has no pixels")
    if np.issubdtype(array.dtype, np.floating):
        low, high = array.min(), array.max()
        if not (low >= 0 and high <= 255):  # also true of NaN
            raise ValueError(f"its values must lie in [0, 255], but go from {low} to {high}")
        rounded = np.rint(array)
        if high <= 1 and (rounded != array).any():
            raise ValueError("its values lie in [0, 1]; multiply by 255")
        array = rounded.astype(np.uint8)
    if array.dtype != np.uint8:
        raise ValueError("its values must be uint8, or floating-point in [0, 255]")
    if array.shape[2:] == (1,):
        array = array[:, :, 0]
    return _to_rgb(Image.fromarray(array), owned=True)


def _from_file(path: Path, max_pixels: int, may_shrink: bool) -> Image.Image:
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        raise ValueError("it is a folder, not an image file")
    if not stat.S_ISREG(status.st_mode):  # opening a named pipe would wait for ever
        raise ValueError("it is not a regular file")
    if status.st_size == 0:
        raise ValueError("the file is empty")
    if status.st_size > MAX_BYTES:
        raise ValueError(f"its {status.st_size} bytes are more than the limit of {MAX_BYTES}")
    with path.open("rb") as file:
        return _from_stream(file, max_pixels, may_shrink)


def _from_stream(file: IO[bytes], max_pixels: int, may_shrink: bool) -> Image.Image:
    try:
        return _decoded(file, max_pixels, may_shrink)
    except (_TooLargeError, MemoryError):
        raise
    except Exception:  # perhaps a text or colour profile is too long for Pillow
        for needed in (_METADATA, _TRANSPARENT):
            if (shorter := _png_without_texts(file, needed)) is not None:
                try:
                    return _decoded(shorter, max_pixels, may_shrink)
                except _TooLargeError:
                    raise
                except Exception:  # the error about the whole file is the better one
                    continue
        raise


def _png_without_texts(file: IO[bytes], needed: tuple[bytes, ...]) -> IO[bytes] | None:
    """Return a PNG without its texts; None if it is not a PNG or has nothing to remove."""
    # chunks stay whose type and text begin with one of `needed`
    file.seek(0)
    if (signature := file.read(len(_PNG))) != _PNG:
        return None
    shorter = BytesIO()
    shorter.write(signature)
    left_out = False
    while len(head := file.read(8)) == 8:
        rest = int.from_bytes(head[:4], "big") + 4  # 4 bytes of checksum
        beginning = head[4:] + file.read(min(rest, 32))
        if head[4:5].islower() and not beginning.startswith(needed):
            left_out = True
            file.seek(rest - len(beginning) + 4, os.SEEK_CUR)
        else:
            shorter.write(head[:4] + beginning + file.read(rest - len(beginning) + 4))
    shorter.seek(0)
    return shorter if left_out else None


def _decoded(file: IO[bytes], max_pixels: int, may_shrink: bool) -> Image.Image:
    image = _open(file)
    _limit(image, max_pixels, may_shrink)
    return _to_rgb(image, owned=True)


def _open(file: IO[bytes]) -> Image.Image:
    # Not Image.open: its check of the size cannot be changed for one call, since Pillow's limit
    # and Python's warning filters are global.
    name = _format_of(file.read(_PREFIX))
    file.seek(0)
    # JPEG's factory would look for more pictures behind the first. The empty name keeps Pillow from
    # mapping the file into memory, which fails if the file shrinks.
    open_file: Callable[..., Image.Image]
    if name == "JPEG":
        open_file = JpegImageFile
    else:
        open_file = _heif_opener() if name == "HEIF" else Image.OPEN[name][0]
    return open_file(file, "")


def _is_heif(prefix: bytes) -> bool:
    """Return whether a file begins as HEIC; AVIF has the same container."""
    if prefix[4:8] != b"ftyp":
        return False
    size = min(int.from_bytes(prefix[:4], "big"), len(prefix))
    brands = {prefix[8:12], *(prefix[at : at + 4] for at in range(16, size, 4))}
    return bool(brands & _HEIF_BRANDS) or (
        prefix[8:12] in _ANY_BRANDS and not brands & {b"avif", b"avis"}
    )


def _heif_opener() -> Callable[..., Image.Image]:
    try:  # not registered with Pillow: that would change the whole process
        from pillow_heif import HeifImageFile
    except ImportError as error:
        raise ValueError(
            f"HEIC is read by pillow-heif ({error}): pip install 'dolg-zoo[heif]', or save it as"
            " JPEG"
        ) from error
    return HeifImageFile


def _format_of(prefix: bytes) -> str:
    """Return the format of a file with this beginning."""
    if _is_heif(prefix):
        _heif_opener()  # raises an error if HEIF cannot be read here
        return "HEIF"
    for load_plugins in (Image.preinit, Image.init):  # `init` loads all plugins, in 0.05 s
        load_plugins()
        for name in FORMATS:
            if name not in Image.OPEN:
                continue
            _, accepts = Image.OPEN[name]
            answer = accepts is not None and accepts(prefix)
            if isinstance(answer, str):  # why this build of Pillow cannot read the file
                raise ValueError(answer)
            if answer:
                return name
    raise ValueError(
        f"its content is in none of the formats {', '.join(FORMATS)}; save it as JPEG or PNG"
    )


def _limit(image: Image.Image, max_pixels: int, may_shrink: bool) -> None:
    width, height = image.size
    if width * height <= max_pixels:
        return
    too_large = f"{width} x {height} pixels are more than the limit of {max_pixels}"
    if not isinstance(image, JpegImageFile) or not may_shrink:
        raise _TooLargeError(too_large)
    if _in_several_scans(image):
        raise _TooLargeError(
            f"{too_large}, and a progressive JPEG needs the memory of its full size"
        )
    for step in (2, 4, 8):
        if -(-width // step) * -(-height // step) <= max_pixels:
            image.draft(None, (width // step, height // step))
            return
    raise _TooLargeError(f"{too_large}, even at an eighth of its sides")


def _in_several_scans(image: JpegImageFile) -> bool:
    # For several scans libjpeg keeps the coefficients of the whole picture, even if it shrinks it.
    # Pillow has read to the end of the first scan's header, which has eight bytes and two for each
    # channel in the scan. Only if the scan has all channels, its marker is that far back.
    file = image.fp
    assert file is not None  # it is open until the pixels are read
    file.seek(-8 - 2 * image.layers, os.SEEK_CUR)
    return "progressive" in image.info or file.read(2) != b"\xff\xda"


def _to_rgb(image: Image.Image, *, owned: bool) -> Image.Image:
    # Pillow reads pixels and EXIF at first use, which two threads cannot do at once. The lock ends
    # with a copy.
    with nullcontext() if owned else _CALLERS_IMAGE:
        image.load()
        with suppress(Exception):  # the pixels are good without the EXIF block
            image.getexif()
        tags = getattr(image, "tag_v2", {})
        turned = cast("Image.Image | None", ImageOps.exif_transpose(image, in_place=owned))  # type: ignore[call-overload]
        image = turned or image
    if image.mode.startswith("I"):
        image = _eight_bits_of_integers(image, tags)
    elif image.mode == "F":
        image = _eight_bits_of_floats(image)
    if image.has_transparency_data:
        layer = image if image.mode == "RGBA" else image.convert("RGBA")
        if layer.getchannel("A").getextrema() == (0, 0):  # the alpha channel was never set
            return layer.convert("RGB")
        image = Image.new("RGB", image.size, "white")
        image.paste(layer, mask=layer)
    return image.convert("RGB") if image.mode != "RGB" else image


def _eight_bits_of_integers(image: Image.Image, tags: Any) -> Image.Image:
    image = image.convert("I")
    low, high = cast("tuple[int, int]", image.getextrema())
    if low < 0 or high > 65535:
        raise ValueError(
            f"its 32-bit values go from {low} to {high}; save it with 8 or 16 bits a channel"
        )
    white = 4095 if tags.get(_BITS_PER_SAMPLE) == (12,) else 65535
    table = np.rint(np.minimum(np.arange(65536) * (255 / white), 255)).astype(int)
    if tags.get(_PHOTOMETRIC) == 0:  # white is zero; Pillow inverts only 8-bit values
        table = 255 - table
    if "transparency" in image.info:  # PNG: one value means transparent; white replaces it
        table[image.info.pop("transparency")] = 255
    return image.point(table.tolist(), "L")


def _eight_bits_of_floats(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    low, high = values.min(), values.max()
    if not (low >= 0 and high <= 65535):  # also true of NaN
        raise ValueError(
            f"its floating-point values go from {low} to {high}; save it with 8 or 16 bits"
        )
    white = next(white for white in (1, 255, 65535) if high <= white)
    return Image.fromarray(np.rint(values * np.float32(255 / white)).astype(np.uint8))


_PNG = b"\x89PNG\r\n\x1a\n"
_TRANSPARENT = (b"tRNS",)
_METADATA = (
    *_TRANSPARENT,
    b"eXIf",
    *(b"tEXtRaw profile type ", b"zTXtRaw profile type ", b"iTXtXML:com.adobe.xmp\0"),
)
"""PNG chunks with transparency and orientation."""

_BITS_PER_SAMPLE = 258
_PHOTOMETRIC = 262
