"""Figures as SVG: the same records draw the same bytes. The only user of the plotting library."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

from robustbench_kd.errors import BrokenPlugin, NothingEvaluated
from robustbench_kd.records import Record, Share
from robustbench_kd.report.planted import Case, dose

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKS = "osD^vP*X<>hp"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


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


def _svg(title: str, draw: Callable[[Any], None]) -> bytes:
    try:
        from matplotlib import rc, rc_context, rcdefaults
        from matplotlib.figure import Figure
    except ImportError as why:
        raise BrokenPlugin(
            "figures need matplotlib; run: pip install 'robustbench-kd[report]'"
        ) from why
    with rc_context():
        rcdefaults()  # whatever style the reader of the records likes, the bytes are the same
        rc("svg", hashsalt="robustbench-kd", fonttype="none")
        figure = Figure(figsize=(7.5, 4.5), layout="constrained")
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
        buffer = BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def _plain(text: str) -> str:
    """Names are no mathematics: a dollar sign stays a dollar sign."""
    return text.replace("$", r"\$")
