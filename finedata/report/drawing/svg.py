"""Small pieces of SVG, well-formed and the same bytes on every machine.

No plotting library: a report needs five kinds of picture, and markup written by hand is small and
takes its colours from the page's style sheet, so that one picture serves light, dark and paper.
Every element is made by `element`, which escapes what it is given; coordinates are rounded to a
tenth of a unit.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from html import escape as _escape_markup

MINUS = "\u2212"
TIMES = "\u00d7"
# What XML 1.0 forbids, and what reorders the text around it (Unicode's embeddings, overrides and
# isolates): a stranger's instruction must change nothing outside itself.
_HOSTILE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufffe\uffff]")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def escape(value: object, *, longest: int | None = None) -> str:
    """Make any text safe inside HTML and SVG, in content and in quoted attributes.

    Args:
        value: Shown as `str` shows it.
        longest: Characters to keep; the rest is replaced by how long it was.

    Returns:
        Markup without tags of its own; characters that XML forbids or that turn the direction of
        their surroundings are U+FFFD.

    Example:
        >>> escape("<b> & 'x'")
        '&lt;b&gt; &amp; &#x27;x&#x27;'
        >>> escape("abcdef", longest=3)
        'abc… (6 characters)'
    """
    shown = str(value)
    if longest is not None and len(shown) > longest:
        shown = f"{shown[:longest]}… ({count_text(len(shown))} characters)"
    shown = _LONE_SURROGATE.sub("\ufffd", _HOSTILE.sub("\ufffd", shown))
    return _escape_markup(shown, quote=True)


def count_text(count: int) -> str:
    """A count with commas between thousands.

    Example:
        >>> count_text(972247)
        '972,247'
    """
    return f"{count:,}"


def counted(count: int, noun: str) -> str:
    """A count with its noun, in the plural where it is not one.

    Example:
        >>> counted(1, "episode"), counted(1200, "episode")
        ('1 episode', '1,200 episodes')
    """
    return f"{count_text(count)} {noun}{'' if count == 1 else 's'}"


def number_text(value: float | None, *, digits: int = 3) -> str:
    """A number to three significant digits; `none` where there is none.

    Example:
        >>> number_text(0.123456), number_text(1234567.0), number_text(2.0)
        ('0.123', '1,230,000', '2')
    """
    if value is None:
        return "none"
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else (f"{MINUS}∞" if value < 0 else "∞")
    if value == 0:
        return "0"
    places = digits - 1 - math.floor(math.log10(abs(value)))
    rounded = round(value, places)
    if abs(rounded) >= 1e15 or abs(rounded) < 1e-5:
        return f"{value:.{digits}g}".replace("-", MINUS)
    shown = f"{rounded:,.{max(places, 0)}f}"
    if "." in shown:
        shown = shown.rstrip("0").rstrip(".")
    return shown.replace("-", MINUS)


def element(name: str, content: str = "", /, **attributes: object) -> str:
    """One element. Attribute names lose a trailing `_` and turn other `_` into `-`.

    Args:
        name: Of the element.
        content: Markup, already escaped.
        attributes: Values; floats are rounded to a tenth, the rest is escaped; `None` is left out.

    Example:
        >>> element("rect", x=1.26, class_="bar")
        '<rect x="1.3" class="bar"/>'
    """
    parts = [name]
    for key, value in attributes.items():
        if value is None:
            continue
        shown = _coordinate(value) if isinstance(value, float) else escape(value)
        parts.append(f'{key.rstrip("_").replace("_", "-")}="{shown}"')
    head = " ".join(parts)
    return f"<{head}>{content}</{name}>" if content else f"<{head}/>"


def _coordinate(value: float) -> str:
    shown = f"{value:.1f}"
    shown = shown[:-2] if shown.endswith(".0") else shown
    return "0" if shown == "-0" else shown


def text(
    x: float, y: float, label: str, *, class_: str = "label", anchor: str | None = None
) -> str:
    """A label, escaped. `anchor` is start, middle or end."""
    return element("text", escape(label), x=x, y=y, class_=class_, text_anchor=anchor)


def polyline(points: list[tuple[float, float]], *, class_: str, closed: bool = False) -> str:
    """A line through points, or a filled shape where it is closed."""
    at = " ".join(f"{_coordinate(x)},{_coordinate(y)}" for x, y in points)
    if closed:
        return element("polygon", points=at, class_=class_)
    # Said here too, for readers that know no style sheet: a line is no area.
    return element("polyline", points=at, class_=class_, fill="none")


def picture(
    body: list[str], *, width: float, height: float, label: str, class_: str = "plot"
) -> str:
    """A whole drawing.

    Args:
        body: Its elements, from back to front.
        width: Of its own coordinates; on the page it is as wide at most.
        height: Likewise.
        label: What a reader who cannot see it should know.
        class_: For the style sheet.
    """
    return element(
        "svg",
        "".join(body),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width:g} {height:g}",
        width=f"{width:g}",
        height=f"{height:g}",
        role="img",
        aria_label=label,
        class_=class_,
    )


@dataclass(frozen=True, slots=True)
class Scale:
    """A straight map from values [low, high] to units of the drawing [start, end]."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Where a value lies; the middle where the values have no extent."""
        if self.high == self.low:
            return (self.start + self.end) / 2
        share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)


@dataclass(frozen=True, slots=True)
class Frame:
    """The rectangle of a plot inside its drawing, in the drawing's units."""

    width: float = 640.0
    height: float = 240.0
    left: float = 56.0
    right: float = 16.0
    top: float = 28.0
    bottom: float = 44.0

    def x_scale(self, low: float, high: float) -> Scale:
        """Values from left to right."""
        return Scale(low, high, self.left, self.width - self.right)

    def y_scale(self, low: float, high: float) -> Scale:
        """Values from the bottom up."""
        return Scale(low, high, self.height - self.bottom, self.top)


def nice_step(extent: float, wanted: int) -> float:
    """The step of the form 1, 2 or 5 times a power of ten that divides best.

    Args:
        extent: What is to be divided; positive.
        wanted: Into about so many steps, never more than that.

    Example:
        >>> nice_step(0.93, 5), nice_step(1200, 6)
        (0.2, 200.0)
    """
    rough = extent / max(wanted, 1)
    if not (math.isfinite(rough) and rough > 0):
        return 1.0
    exponent = math.floor(math.log10(rough))
    for factor in (1, 2, 5, 10):
        # Through text: 2 * 10**-1 by multiplication is not always the number 0.2.
        step = float(f"{factor}e{exponent}")
        if step >= rough * (1 - 1e-9):
            return step
    return float(f"1e{exponent + 1}")


def nice_ticks(low: float, high: float, wanted: int = 6) -> list[float]:
    """Round numbers from `low` to `high`, both included where they are round.

    Example:
        >>> nice_ticks(0.0, 1.0, 5)
        [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    if high <= low:
        return [low]
    step = nice_step(high - low, wanted)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [float(f"{k * step:.12g}") for k in range(first, last + 1)]


def x_axis(frame: Frame, scale: Scale, ticks: list[float], title: str) -> str:
    """The line, ticks, numbers and title below a plot."""
    y = frame.height - frame.bottom
    parts = [element("line", x1=frame.left, x2=frame.width - frame.right, y1=y, y2=y)]
    for tick in ticks:
        x = scale(tick)
        parts.append(element("line", x1=x, x2=x, y1=y, y2=y + 4))
        parts.append(text(x, y + 17, number_text(tick), class_="tick", anchor="middle"))
    middle = (frame.left + frame.width - frame.right) / 2
    parts.append(text(middle, frame.height - 8, title, class_="title", anchor="middle"))
    return element("g", "".join(parts), class_="axis")


def y_axis(frame: Frame, scale: Scale, ticks: list[float], title: str) -> str:
    """Faint lines across a plot, their numbers on the left, the title above (never turned)."""
    parts: list[str] = []
    for tick in ticks:
        y = scale(tick)
        x_right = frame.width - frame.right
        parts.append(element("line", x1=frame.left, x2=x_right, y1=y, y2=y, class_="grid"))
        parts.append(text(frame.left - 8, y + 4, number_text(tick), class_="tick", anchor="end"))
    parts.append(text(8.0, 14.0, title, class_="title"))
    return element("g", "".join(parts), class_="axis")
