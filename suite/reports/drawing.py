"""Drawings as SVG: the same input draws the same bytes. The only user of the plotting library."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from robustbench_kd.core.errors import BrokenPlugin
from robustbench_kd.core.estimates import Estimate

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure

    Axes: TypeAlias = matplotlib.axes.Axes
    Canvas: TypeAlias = matplotlib.figure.Figure
else:  # the library is imported where something is drawn, and only there
    Axes = Canvas = Any

T = TypeVar("T")
MARKERS = "osD^vP*X<>hp"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Of figures that stand alone, on white."""
INK = "#0a0b0c"
"""Text and axes of a sketch; a page puts its own text colour in its place."""
TONES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#808080")
"""Of sketches; a page replaces each by one that is legible on light and on dark paper."""
SKETCH = {
    "font.size": 9.0,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor"), INK),
    **dict.fromkeys(("xtick.color", "ytick.color", "hatch.color"), INK),
    "axes.spines.top": False,
    "axes.spines.right": False,
}
MOST = 48
"""Rows or points that a figure names, so that a page with hundreds of students stays readable."""
WIDTH = 4.4
"""Inches of a sketch: as wide as a phone, so that its letters stay readable there."""


def sketch(draw: Callable[[Canvas], object], height: float = 3.4) -> bytes:
    """A narrow figure without a background, for a page that is read in light and in dark colours.

    Args:
        draw: fills the figure.
        height: in inches.
    """
    with canvases(SKETCH) as canvas_of:
        canvas = canvas_of((WIDTH, height))
        draw(canvas)
        return svg_of(canvas, transparent=True)


@contextmanager
def canvases(
    style: Mapping[str, Any] = MappingProxyType({}),
) -> Iterator[Callable[[tuple[float, float]], Canvas]]:
    """Makes empty figures of a size in inches; the user's own style of the library is ignored.

    Raises:
        BrokenPlugin: where the plotting library is not installed.
    """
    try:
        from matplotlib import rc, rc_context, rcdefaults, rcParams
        from matplotlib.figure import Figure
    except ImportError as why:
        raise BrokenPlugin(
            "figures need matplotlib; run: pip install 'robustbench-kd[report]'"
        ) from why
    with rc_context():
        rcdefaults()
        rc("svg", hashsalt="robustbench-kd", fonttype="none")
        rcParams.update(dict(style))  # type: ignore[arg-type]
        yield lambda size: Figure(figsize=size, layout="constrained")


def svg_of(canvas: Canvas, *, transparent: bool) -> bytes:
    """A figure as SVG, without a date."""
    buffer = BytesIO()
    metadata = {"Date": None, "Creator": None}
    canvas.savefig(buffer, format="svg", metadata=metadata, transparent=transparent)
    return buffer.getvalue()


def drawable(items: Sequence[T], description: str) -> tuple[Sequence[T], str]:
    """As many items as a figure can name; the description says so where there are more."""
    if len(items) <= MOST:
        return items, description
    return items[:MOST], f"{description} Only the first {MOST} of {len(items):,} are drawn."


def legend_below(canvas: Canvas, axes: Axes, columns: int = 2) -> None:
    """A legend under the axes, of everything that has a label."""
    handles, labels = axes.get_legend_handles_labels()
    canvas.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=columns,
        fontsize=8,
        frameon=False,
        handletextpad=0.4,
        columnspacing=1.0,
    )


def point_style(place: int, label: str) -> dict[str, Any]:
    """Arguments of ``errorbar``: marker and tone that no two of the first 77 items share."""
    return {
        "fmt": MARKERS[place % len(MARKERS)],
        "color": TONES[place % len(TONES)],
        "label": short_label(label),
        "markersize": 4,
        "linewidth": 0.8,
    }


def error_bars(estimates: Sequence[Estimate], scale: float = 100.0) -> list[list[float]]:
    """Lower and upper arms of intervals, [2, points]; in percent unless another scale is given."""
    return [
        [scale * (estimate.value - estimate.low) for estimate in estimates],
        [scale * (estimate.high - estimate.value) for estimate in estimates],
    ]


def short_label(text: str, most: int = 30) -> str:
    """A name as a figure can bear it: cut where it is long, and no mathematics."""
    return plain_label(text if len(text) <= most else text[: most - 1] + "…")


def plain_label(text: str) -> str:
    """A name that the library does not read as mathematics: a dollar sign stays one."""
    return text.replace("$", r"\$")


def png(pixels: Any) -> bytes:
    """A small image: whole numbers up to 255, [height, width, 1 or 3]."""
    from PIL import Image

    buffer = BytesIO()
    Image.fromarray(pixels.squeeze()).save(buffer, format="png", optimize=True)
    return buffer.getvalue()
