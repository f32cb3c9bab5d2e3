"""SVG elements, the style sheet that they share, and how wide a text is.

The style sheet is part of the picture, which follows the reader's light or dark setting. SVG has no way to ask for
the width of a text, and fonts differ: widths are estimated on the safe side, so that nothing overlaps.
"""

from __future__ import annotations

import unicodedata
from xml.etree.ElementTree import Element, SubElement, indent, tostring

TITLE, LABEL, SMALL = 19, 13, 11  # sizes of type, in pixels
MAX_LABEL = 28  # characters; longer labels end in an ellipsis

#: For each status the colour on a light and on a dark page.
COLOURS = {
    "SUCCESS": ("#1a7f37", "#3fb950"),
    "FAILED": ("#cf222e", "#f85149"),
    "TIMED_OUT": ("#bc4c00", "#f0883e"),
    "CANCELLED": ("#8250df", "#bc8cff"),
    "RUNNING": ("#0969da", "#58a6ff"),
    "WAITING": ("#9a6700", "#d29922"),
    "PAUSED": ("#9a6700", "#d29922"),
    "QUEUED": ("#6e7781", "#8b949e"),
    "PENDING": ("#6e7781", "#8b949e"),
    "SKIPPED": ("#6e7781", "#8b949e"),
}

#: For each part the property that the page decides, with its value on a light and on a dark page.
SHADES = {
    ".page": ("fill", "#ffffff", "#0d1117"),
    ".box": ("fill", "#f6f8fa", "#161b22"),
    ".edge, .rule, .box": ("stroke", "#afb8c1", "#545d68"),
    ".grid": ("stroke", "#eaeef2", "#21262d"),
    ".ink": ("fill", "#1f2328", "#e6edf3"),
    ".muted": ("fill", "#59636e", "#9198a1"),
    ".tip": ("fill", "#afb8c1", "#545d68"),
}

FIXED = """
text { font-family: system-ui, -apple-system, "Segoe UI", "Noto Sans", "DejaVu Sans", sans-serif }
.edge { fill: none; stroke-width: 1.5 }
.dead { stroke-dasharray: 4 4 }
"""


class Canvas:
    """A group of elements with an origin of its own. ``str`` of the page gives the SVG text."""

    def __init__(self, element: Element) -> None:
        self._element = element

    @classmethod
    def page(cls, width: float, height: float, title: str) -> Canvas:
        size = {"width": number(width), "height": number(height), "viewBox": f"0 0 {number(width)} {number(height)}"}
        root = Element("svg", {"xmlns": "http://www.w3.org/2000/svg", **size, "role": "img"})
        SubElement(root, "title").text = printable(title)
        SubElement(root, "style").text = _style_sheet()
        page = cls(root)
        page.add("rect", "page", width=width, height=height)
        return page

    def group(self, x: float, y: float) -> Canvas:
        return Canvas(SubElement(self._element, "g", {"transform": f"translate({number(x)} {number(y)})"}))

    def add(self, tag: str, style: str, *, tip: str = "", **attributes: float | str) -> None:
        """Adds an element of the class ``style``. ``tip`` is shown where the pointer rests on it."""
        named = {
            name.replace("_", "-"): value if isinstance(value, str) else number(value)
            for name, value in attributes.items()
        }
        element = SubElement(self._element, tag, {"class": style, **named})
        if tip:
            SubElement(element, "title").text = printable(tip)

    def text(self, style: str, x: float, y: float, text: str, size: int = SMALL, **attributes: float | str) -> None:
        named = {name.replace("_", "-"): str(value) for name, value in attributes.items()}
        place = {"x": number(x), "y": number(y), "font-size": str(size)}
        SubElement(self._element, "text", {"class": style, **place, **named}).text = printable(text)

    def __str__(self) -> str:
        indent(self._element)
        return tostring(self._element, encoding="unicode") + "\n"


def _style_sheet() -> str:
    rules = [(selector, name, values) for selector, (name, *values) in SHADES.items()]
    rules += [(f".{status}", "fill", list(values)) for status, values in COLOURS.items()]
    light = [f"{selector} {{ {name}: {day} }}" for selector, name, (day, _) in rules]
    dark = [f"  {selector} {{ {name}: {night} }}" for selector, name, (_, night) in rules]
    return "\n".join([FIXED.rstrip(), *light, "@media (prefers-color-scheme: dark) {", *dark, "}", ""])


def number(value: float) -> str:
    """One decimal at most: enough for a pixel, and the same on every machine."""
    return f"{value:.1f}".removesuffix(".0")


def printable(text: str) -> str:
    """XML has no way to say control characters."""
    return "".join(character if character.isprintable() else " " for character in text)


def cut(text: str, length: int = MAX_LABEL) -> str:
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def text_width(text: str, size: int = SMALL, *, bold: bool = False) -> float:
    """Pixels, of a wide font; characters of East Asia take a full square."""
    squares = sum(1.0 if unicodedata.east_asian_width(character) in "WF" else 0.64 for character in text)
    return squares * size * (1.08 if bold else 1.0)
