"""The forms that an elastic network can take, and the space they are drawn from."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Form:
    """A residual network by its channels: of each stage, and inside of each of its blocks.

    Written ``resnet-12:12-24:12,24-48:48``: widths by stage, after the colon the inner widths.
    """

    widths: tuple[int, ...]
    inner: tuple[tuple[int, ...], ...]

    @property
    def name(self) -> str:
        """What ``nets.build`` builds it by."""
        stages = zip(self.widths, self.inner, strict=True)
        return "resnet-" + "-".join(f"{w}:{','.join(map(str, inside))}" for w, inside in stages)

    @property
    def depths(self) -> tuple[int, ...]:
        """Blocks of each stage."""
        return tuple(len(inside) for inside in self.inner)


@dataclass(frozen=True)
class Cost:
    """Multiply-accumulates an image, and parameters."""

    macs: int
    params: int


@dataclass(frozen=True)
class Space:
    """All forms that one elastic network holds.

    Every stage chooses a share of its widest width and a number of blocks; every block chooses a
    share of its stage's width for its inside. Choices are ordered from small to large. The last
    four fields say what images the network is for, and so what a form costs.
    """

    widest: tuple[int, ...]
    shares: tuple[float, ...] = (0.5, 0.75, 1.0)
    depths: tuple[int, ...] = (1, 2)
    expansions: tuple[float, ...] = (0.5, 1.0)
    channels: int = 1
    size: int = 28
    classes: int = 10
    stem: int = 2

    @property
    def largest(self) -> Form:
        """The form that uses every weight."""
        return self._evenly(-1, -1, -1)

    @property
    def smallest(self) -> Form:
        """The form with the fewest weights."""
        return self._evenly(0, 0, 0)

    @property
    def middle(self) -> Form:
        """The form of all middle choices; of two, the smaller."""
        middles = [(len(c) - 1) // 2 for c in (self.shares, self.depths, self.expansions)]
        return self._evenly(*middles)

    def __len__(self) -> int:
        """How many forms there are; blocks that a form leaves out choose nothing."""
        each = sum(len(self.expansions) ** depth for depth in self.depths)
        return int((len(self.shares) * each) ** len(self.widest))

    def forms(self) -> Iterator[Form]:
        """Every form once."""
        stage = [
            (share, depth, inside)
            for share in self.shares
            for depth in self.depths
            for inside in itertools.product(self.expansions, repeat=depth)
        ]
        for chosen in itertools.product(stage, repeat=len(self.widest)):
            shares, depths, inner = zip(*chosen, strict=True)
            yield self._form(shares, depths, inner)

    def draw(self, generator: torch.Generator) -> Form:
        """A form with every choice uniform and independent (Mousavi et al. 2025, as released)."""

        def pick(choices: tuple[float, ...]) -> float:
            return choices[int(torch.randint(len(choices), (1,), generator=generator))]

        shares, depths, inner = [], [], []
        for _ in self.widest:
            shares.append(pick(self.shares))
            depths.append(int(pick(self.depths)))
            inner.append(tuple(pick(self.expansions) for _ in range(depths[-1])))
        return self._form(tuple(shares), tuple(depths), tuple(inner))

    @property
    def choices(self) -> list[int]:
        """How many options each choice has: by stage a share, a depth, and an inside by block."""
        blocks = [len(self.expansions)] * self.depths[-1]
        return [len(self.shares), len(self.depths), *blocks] * len(self.widest)

    def chosen(self, picks: Sequence[int]) -> Form:
        """The form of one option a choice, in the order of ``choices``."""
        each = 2 + self.depths[-1]
        stages = [picks[n : n + each] for n in range(0, len(picks), each)]
        return self._form(
            tuple(self.shares[stage[0]] for stage in stages),
            tuple(self.depths[stage[1]] for stage in stages),
            tuple(tuple(self.expansions[pick] for pick in stage[2:]) for stage in stages),
        )

    def cost(self, form: Form) -> Cost:
        """What a form costs, by the arithmetic of its layers (batch norms cost parameters only)."""
        side, wide = -(-self.size // self.stem), self.channels
        weights = 9 * wide * form.widths[0]
        macs, params, wide = side**2 * weights, weights + 2 * form.widths[0], form.widths[0]
        for stage, (out, inner) in enumerate(zip(form.widths, form.inner, strict=True)):
            side = -(-side // 2) if stage > 0 else side
            for block, inside in enumerate(inner):
                weights = 9 * inside * (wide + out)
                params += 2 * (inside + out)
                if stage > 0 and block == 0:
                    weights += wide * out
                    params += 2 * out
                macs, params, wide = macs + side**2 * weights, params + weights, out
        return Cost(macs + wide * self.classes, params + (wide + 1) * self.classes)

    def features(self, form: Form) -> list[float]:
        """One-hot choices: shares and depths by stage, expansions by block (none: left out)."""
        values: list[float] = []
        for widest, width, inside in zip(self.widest, form.widths, form.inner, strict=True):
            values += [float(round(s * widest) == width) for s in self.shares]
            values += [float(depth == len(inside)) for depth in self.depths]
            for block in range(self.depths[-1]):
                have = inside[block] if block < len(inside) else None
                values += [float(have == round(e * width)) for e in self.expansions]
        return values

    def _evenly(self, share: int, depth: int, inside: int) -> Form:
        """The same choice in every stage and block."""
        n = len(self.widest)
        blocks = (self.expansions[inside],) * self.depths[-1]
        return self._form((self.shares[share],) * n, (self.depths[depth],) * n, (blocks,) * n)

    def _form(
        self,
        shares: tuple[float, ...],
        depths: tuple[int, ...],
        inner: tuple[tuple[float, ...], ...],
    ) -> Form:
        widths = tuple(round(s * w) for s, w in zip(shares, self.widest, strict=True))
        inside = tuple(
            tuple(round(e * width) for e in chosen[:depth])
            for width, depth, chosen in zip(widths, depths, inner, strict=True)
        )
        return Form(widths, inside)
