"""Figures as SVG: the same records draw the same bytes. The only user of the plotting library."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from robustbench_kd.core.errors import BrokenPlugin, NothingEvaluated
from robustbench_kd.metrics._groups import Case as Known
from robustbench_kd.metrics._groups import reference_of
from robustbench_kd.metrics.backdoor_transfer import Case, dose
from robustbench_kd.metrics.known import exposed, perplexity
from robustbench_kd.ops.privacy.exposure import CHANCE
from robustbench_kd.results.record import Record, Share

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure

    Axes: TypeAlias = matplotlib.axes.Axes
    Canvas: TypeAlias = matplotlib.figure.Figure
else:  # the library is imported where something is drawn, and only there
    Axes = Canvas = Any

T = TypeVar("T")
FRONTIER = (-1, 0, 1, 2, 10, 100)
MARKS = "osD^vP*X<>hp"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
INK = "#0a0b0c"  # text and axes of a sketch; a page puts the reader's own colour in its place
TONES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#808080")
SKETCH = {
    "font.size": 9.0,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor"), INK),
    **dict.fromkeys(("xtick.color", "ytick.color", "hatch.color"), INK),
    "axes.spines.top": False,
    "axes.spines.right": False,
}
MOST = 48  # lines or points that a figure names; a page with hundreds of students stays readable
WIDTH = 4.4  # inches of a sketch: as wide as a phone, so that its letters stay readable there


def macs_figure(title: str, records: Sequence[Record]) -> bytes:
    """Robust accuracy against multiply-accumulates: families as lines, other students as points."""
    families: dict[str, list[Record]] = {}
    for record in records:
        families.setdefault(record.defense["name"], []).append(record)

    def draw(axes: Axes) -> None:
        for n, (name, members) in enumerate(sorted(families.items())):
            several = len({record.model["macs"] for record in members}) > 1
            members = sorted(members, key=lambda r: r.model["macs"])
            x = [record.model["macs"] / 1e6 for record in members]
            _points(axes, name, x, [record.worst for record in members], n, line=several)
        axes.set_xscale("log")
        axes.set_xlabel("multiply-accumulates an image, millions")
        axes.set_ylabel("robust accuracy, %")

    return _svg(title, draw)


def dose_figure(title: str, found: Sequence[Case]) -> bytes:
    """Attack success against the planted share: a line a student, dashed for the source.

    Raises:
        NothingEvaluated: where no attack was tried at more than one rate.
    """
    curves = dose(found)
    if not curves:
        raise NothingEvaluated(
            "a dose curve needs records of one attack at two rates, such as badnets and "
            "badnets:rate=0.01"
        )
    return _svg(title, lambda axes: _doses(axes, curves))


def frontier_figure(title: str, found: Sequence[Known]) -> bytes:
    """Exposure against perplexity, a field for each format of canaries; down and left is better.

    Perplexity is given above that of plain distillation, in percent; no interval is drawn on it.

    Raises:
        NothingEvaluated: where no record is about canaries.
    """
    shown = [case for case in found if case.families]
    if not shown:
        raise NothingEvaluated("no record here is about planted canaries; see: text-privacy")
    families = shown[0].families
    base = perplexity(reference_of(shown, shown[0]) or shown[0], "student").value
    with _plainly() as figure_of:
        figure = figure_of((3 * len(families) + 1, 4.2 + 0.16 * len(shown) / 2))
        fields = figure.subplots(1, len(families), sharey=True, squeeze=False)[0]
        for axes, family in zip(fields, families, strict=True):
            for n, case in enumerate(shown):
                more = 100 * (perplexity(case, "student").value / base - 1)
                y = exposed(case, "student", family)
                axes.errorbar(
                    [more],
                    [y.value],
                    yerr=[[y.value - y.low], [y.high - y.value]],
                    fmt=MARKS[n % len(MARKS)],
                    color=COLOURS[n % len(COLOURS)],
                    label=_plain(case.first.label),
                    markersize=4,
                    linewidth=0.8,
                )
            axes.axhline(CHANCE, color="0.5", linewidth=0.8, linestyle=":")
            axes.set_title(family, fontsize=9)
            # Most students lie within two percent, and a few far beyond.
            axes.set_xscale("symlog", linthresh=2)
            axes.set_xticks(FRONTIER, [f"{tick:g}" for tick in FRONTIER])
            axes.minorticks_off()
            axes.margins(x=0.1)
            axes.set_xlabel("perplexity above plain distillation, %")
            axes.grid(alpha=0.25)
        fields[0].set_ylabel("mean exposure of what was planted, bits")
        figure.suptitle(_plain(title), fontsize=10)
        key_below(figure, fields[0], columns=3)
        return _written(figure, transparent=False)


def _doses(
    axes: Axes, curves: Mapping[tuple[str, str], Sequence[tuple[float, Share, Share]]]
) -> None:
    attacks = sorted({attack for attack, _ in curves})
    for n, ((attack, defense), points) in enumerate(sorted(curves.items())):
        x = [100 * rate for rate, _, _ in points]
        _points(axes, f"{attack}, {defense}", x, [s for _, _, s in points], n, line=True)
    for attack in attacks:
        points = next(points for (name, _), points in sorted(curves.items()) if name == attack)
        x, y = [100 * rate for rate, _, _ in points], [100 * s.value for _, s, _ in points]
        axes.plot(x, y, "--", color="#777777", linewidth=1)
        axes.annotate(_plain(f"{attack}, source"), (x[0], y[0]), fontsize=7, color="#555555")
    axes.set_xscale("log")
    axes.set_xlabel("planted share of the training set, %")
    axes.set_ylabel("attack success, %")


def _points(
    axes: Axes, name: str, x: Sequence[float], shares: Sequence[Share], n: int, *, line: bool
) -> None:
    """Shares with their Wilson intervals."""
    y = [100 * share.value for share in shares]
    low = [100 * (share.value - share.interval[0]) for share in shares]
    high = [100 * (share.interval[1] - share.value) for share in shares]
    axes.errorbar(
        x,
        y,
        yerr=[low, high],
        fmt=MARKS[n % len(MARKS)] + ("-" if line else ""),
        color=COLOURS[n % len(COLOURS)],
        label=_plain(name),
        markersize=4,
        linewidth=1,
        capsize=2,
    )


def sketch(draw: Callable[[Canvas], None], height: float = 3.4) -> bytes:
    """A narrow figure without a background, for a page that is read in light and in the dark.

    Args:
        draw: fills the figure.
        height: in inches; the width is that of a phone.
    """
    with _plainly(SKETCH) as figure_of:
        figure = figure_of((WIDTH, height))
        draw(figure)
        return _written(figure, transparent=True)


def drawable(things: Sequence[T], words: str) -> tuple[Sequence[T], str]:
    """As many as a figure can name, and its words, which say so where there are more."""
    if len(things) <= MOST:
        return things, words
    return things[:MOST], f"{words} Only the first {MOST} of {len(things):,} are drawn."


def key_below(figure: Canvas, axes: Axes, columns: int = 2) -> None:
    """A legend under the axes, of everything that bears a label."""
    drawn, names = axes.get_legend_handles_labels()
    figure.legend(
        drawn,
        names,
        loc="outside lower center",
        ncols=columns,
        fontsize=8,
        frameon=False,
        handletextpad=0.4,
        columnspacing=1.0,
    )


def arms(share: Share) -> list[list[float]]:
    """The interval of one share as the error bar of one point, in percent."""
    low, high = share.interval
    return [[100 * (share.value - low)], [100 * (high - share.value)]]


def png(pixels: Any) -> bytes:
    """A small picture: whole numbers up to 255, height x width x 1 or 3."""
    from PIL import Image

    buffer = BytesIO()
    Image.fromarray(pixels.squeeze()).save(buffer, format="png", optimize=True)
    return buffer.getvalue()


def named(text: str, most: int = 30) -> str:
    """A name as a figure can bear it: cut where it is long, and no mathematics."""
    return _plain(text if len(text) <= most else text[: most - 1] + "…")


def _svg(title: str, draw: Callable[[Any], None]) -> bytes:
    with _plainly() as figure_of:
        figure = figure_of((7.5, 4.5))
        axes = figure.add_subplot()
        draw(axes)
        axes.set_title(_plain(title), fontsize=10)
        axes.grid(alpha=0.25)
        # Handed over with their names, since a name like _this would be left out otherwise.
        drawn: list[Any] = list(axes.containers)
        axes.legend(
            drawn,
            [one.get_label() for one in drawn],
            fontsize=7,
            loc="center left",
            bbox_to_anchor=(1.0, 0.5),
            frameon=False,
        )
        return _written(figure, transparent=False)


@contextmanager
def _plainly(
    style: Mapping[str, Any] = MappingProxyType({}),
) -> Iterator[Callable[[tuple[float, float]], Canvas]]:
    """Makes figures whose bytes do not depend on the style that the reader of the records likes."""
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


def _written(figure: Canvas, *, transparent: bool) -> bytes:
    buffer = BytesIO()
    figure.savefig(
        buffer, format="svg", metadata={"Date": None, "Creator": None}, transparent=transparent
    )
    return buffer.getvalue()


def _plain(text: str) -> str:
    """Names are no mathematics: a dollar sign stays a dollar sign."""
    return text.replace("$", r"\$")
