"""A picture of a DOLG network: from the image down to the descriptor."""

from __future__ import annotations

from functools import cache

from PIL import Image, ImageDraw, ImageFont

from dolg_zoo.drawing.style import lettering
from dolg_zoo.publishing.architecture import Architecture, Tap

# Pixels of the picture per unit of the sizes below, for displays with small pixels.
SCALE = 2
WIDTH, HEIGHT, MARGIN = 880, 1200, 24
COLUMN, BOX, GAP, PADDING = 400, 58, 24, 10
TITLE, TEXT, SMALLEST = 18, 15, 12

# Pillow's own font has no multiplication sign, so 3x3 it is.

# a page of its own, so that it can be read on a dark one too
PAGE, INK, FAINT, ARROW = "#ffffff", "#1b1f24", "#57606a", "#6e7781"
PLAIN, LOCAL, GLOBAL, FUSED = "#f3f5f8", "#e3eefc", "#fdeedd", "#e9e4f8"
EDGE = {PLAIN: "#c9d0d8", LOCAL: "#7fb0ec", GLOBAL: "#e8ac6a", FUSED: "#a996e0"}

LEFT = MARGIN + COLUMN / 2
RIGHT = WIDTH - MARGIN - COLUMN / 2
MIDDLE = WIDTH / 2
WIDE = WIDTH - 2 * MARGIN


def architecture_figure(architecture: Architecture) -> Image.Image:
    """Draw a network: backbone and taps, the local and the global branch, fusion, descriptor.

    Returns:
        An RGB picture, 1760 pixels wide, on a white page.
    """
    page = _Page()
    config = architecture.config
    height, width, channels = config.input_shape
    size = "any size" if height is None else f"{height}x{width} pixels"
    value_range = ", in [0, 255]" if config.mean else ""
    page.box(MIDDLE, COLUMN, "Image", f"{_colours(channels)}, {size}{value_range}", PLAIN)
    if config.mean:
        page.step(MIDDLE, COLUMN, "Normalise", "(x / 255 - mean) / std, in the network", PLAIN)
    page.step(MIDDLE, WIDE, "Backbone", architecture.backbone, PLAIN)
    top, ends = page.y, []
    for x, draw in ((LEFT, _local), (RIGHT, _global)):
        page.y = top
        draw(page, x, architecture)
        ends.append(page.y)
    for x, page.y in zip((LEFT, RIGHT), ends, strict=True):
        page.arrow(x, max(ends) + GAP)
    hidden, dim = config.hidden_dim, config.descriptor_dim
    page.box(
        MIDDLE,
        WIDE,
        "Orthogonal fusion",
        "of the weighted local map, what is orthogonal to the global vector; mean over positions",
        FUSED,
    )
    page.step(MIDDLE, WIDE, "Concatenate", f"global {hidden} + orthogonal {hidden}", FUSED)
    page.step(MIDDLE, COLUMN, "Fully connected", f"{2 * hidden} to {dim}", FUSED)
    if config.whitened_dim:
        text = f"L2-normalised, {dim} to {config.whitened_dim}"
        page.step(MIDDLE, COLUMN, "PCA whitening", text, FUSED)
    page.step(MIDDLE, COLUMN, "Descriptor", f"{config.output_dim} numbers, L2-normalised", PLAIN)
    return page.cut()


def _local(page: _Page, x: float, architecture: Architecture) -> None:
    config = architecture.config
    hidden = config.hidden_dim
    page.step(x, COLUMN, *_tap("Local", architecture.local), LOCAL)
    if config.dilation_rates:
        dilations = ", ".join(map(str, config.dilation_rates))
        pointwise = ", 1x1" if config.atrous_pointwise else ""
        text = f"3x3 dilated {dilations}{pointwise}, image average"
        page.step(x, COLUMN, "Multi-atrous", text, LOCAL)
        page.step(x, COLUMN, "1x1 convolution, ReLU", f"to {hidden} channels", LOCAL)
    page.step(x, COLUMN, "1x1 convolution, batch norm", f"to {hidden} channels", LOCAL)
    half, top = (COLUMN - GAP) / 2, page.y
    for side, title, text in (
        (-1, "L2 norm", "over the channels"),
        (1, "Attention", "ReLU, 1x1, softplus"),
    ):
        page.y, lane = top, x + side * (COLUMN - half) / 2
        page.step(lane, half, title, text, LOCAL)
        page.arrow(lane)
    weights = "one weight a position" if config.attention_channels == 1 else "each with its weight"
    page.box(x, COLUMN, "Weighted local map", f"{hidden} channels, {weights}", LOCAL)


def _global(page: _Page, x: float, architecture: Architecture) -> None:
    config = architecture.config
    page.step(x, COLUMN, *_tap("Global", architecture.global_), GLOBAL)
    learned = {"shared": "learned", "channel": "learned for each channel", "fixed": "fixed"}
    start = "=" if config.gem_power == "fixed" else "from"
    power = f"power p {start} {config.gem_p:g}, {learned[config.gem_power]}"
    page.step(x, COLUMN, "GeM pooling", power, GLOBAL)
    page.step(x, COLUMN, "Fully connected: the global vector", f"to {config.hidden_dim}", GLOBAL)


def _tap(which: str, tap: Tap) -> tuple[str, str]:
    return f"{which} map: {tap.name}", f"stride {tap.stride}, {tap.channels} channels"


def _colours(channels: int) -> str:
    return "RGB" if channels == 3 else f"{channels} channel{'s' if channels > 1 else ''}"


class _Page:
    """A page that is filled from the top; `y` is the top of the next box or arrow."""

    def __init__(self) -> None:
        self.image = Image.new("RGB", (WIDTH * SCALE, HEIGHT * SCALE), PAGE)
        self.draw = ImageDraw.Draw(self.image)
        self.y: float = MARGIN

    def box(self, x: float, width: float, title: str, text: str, fill: str) -> None:
        """Draw a box with two lines of text around `x`, at `self.y`."""
        corners = (x - width / 2, self.y, x + width / 2, self.y + BOX)
        self.draw.rounded_rectangle(
            [SCALE * corner for corner in corners], 8 * SCALE, fill, EDGE[fill], SCALE + 1
        )
        for size, words, colour, below in ((TITLE, title, INK, 20), (TEXT, text, FAINT, 42)):
            centre = (SCALE * x, SCALE * (self.y + below))
            fitting, font = _fitted(words, size, width - 2 * PADDING)
            self.draw.text(centre, fitting, colour, font, "mm")
        self.y += BOX

    def step(self, x: float, width: float, title: str, text: str, fill: str) -> None:
        """Draw an arrow from the box above, and a box."""
        self.arrow(x)
        self.box(x, width, title, text, fill)

    def arrow(self, x: float, end: float | None = None) -> None:
        """Draw an arrow down from (`x`, `self.y`)."""
        tip = self.y + GAP if end is None else end
        line = [(SCALE * x, SCALE * self.y), (SCALE * x, SCALE * (tip - 6))]
        self.draw.line(line, ARROW, 2 * SCALE)
        head = [(x - 5, tip - 9), (x + 5, tip - 9), (x, tip - 1)]
        self.draw.polygon([(SCALE * a, SCALE * b) for a, b in head], ARROW)
        self.y = tip

    def cut(self) -> Image.Image:
        """Return the page, cut to the height of its content."""
        return self.image.crop((0, 0, self.image.width, round(SCALE * (self.y + MARGIN))))


def _fitted(text: str, size: int, room: float) -> tuple[str, ImageFont.FreeTypeFont]:
    """Return the text and a font in which it fits the width; a long text loses its middle."""
    text, file = (text, None) if text.isascii() else lettering(text)
    for smaller in range(size, SMALLEST - 1, -1):
        if _font(smaller, file).getlength(text) <= SCALE * room:
            return text, _font(smaller, file)
    font, kept = _font(SMALLEST, file), len(text)
    short = text
    while font.getlength(short) > SCALE * room:
        kept -= 1
        short = f"{text[: kept // 2]}…{text[len(text) - (kept - kept // 2) :]}"
    return short, font


@cache
def _font(size: int, file: str | None) -> ImageFont.FreeTypeFont:
    """Return the font of a file, or Pillow's own."""
    if file is not None:
        return ImageFont.truetype(file, SCALE * size)
    font = ImageFont.load_default(SCALE * size)
    assert isinstance(font, ImageFont.FreeTypeFont)  # since a size is given
    return font
