"""The subnets of an elastic network: their configurations, and the space they are drawn from."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class SubnetConfig:
    """A residual network by its channels: of each stage, and inside of each of its blocks.

    Written ``resnet-12:12-24:12,24-48:48``: widths by stage, after the colon the inner widths.
    """

    widths: tuple[int, ...]
    inner: tuple[tuple[int, ...], ...]

    @property
    def name(self) -> str:
        """The name that ``models.factory.build`` builds it by."""
        stages = zip(self.widths, self.inner, strict=True)
        return "resnet-" + "-".join(f"{w}:{','.join(map(str, inner))}" for w, inner in stages)

    @property
    def depths(self) -> tuple[int, ...]:
        """Blocks of each stage."""
        return tuple(len(inner) for inner in self.inner)


@dataclass(frozen=True)
class Cost:
    """Multiply-accumulates an image, and parameters."""

    macs: int
    params: int


@dataclass(frozen=True)
class SubnetSpace:
    """All subnets of one elastic network.

    Every stage chooses a share of its largest width and a number of blocks; every block chooses a
    share of its stage's width for its inside. Options are ordered from small to large. The last
    four fields describe the images that the network is for, and so decide what a subnet costs.
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
    def largest(self) -> SubnetConfig:
        """The subnet that uses every weight."""
        return self._uniform(-1, -1, -1)

    @property
    def smallest(self) -> SubnetConfig:
        """The subnet with the fewest weights."""
        return self._uniform(0, 0, 0)

    @property
    def middle(self) -> SubnetConfig:
        """The subnet of all middle options; of two, the smaller."""
        middles = [(len(c) - 1) // 2 for c in (self.shares, self.depths, self.expansions)]
        return self._uniform(*middles)

    def __len__(self) -> int:
        """The number of subnets; blocks that a subnet leaves out choose nothing."""
        by_depth = sum(len(self.expansions) ** depth for depth in self.depths)
        return int((len(self.shares) * by_depth) ** len(self.widest))

    def configs(self) -> Iterator[SubnetConfig]:
        """Every subnet once."""
        options = [
            (share, depth, inner)
            for share in self.shares
            for depth in self.depths
            for inner in itertools.product(self.expansions, repeat=depth)
        ]
        for stages in itertools.product(options, repeat=len(self.widest)):
            shares, depths, inner = zip(*stages, strict=True)
            yield self._config(shares, depths, inner)

    def sample(self, generator: torch.Generator) -> SubnetConfig:
        """A subnet with every option uniform and independent (Mousavi et al. 2025, as released)."""

        def pick(options: tuple[float, ...]) -> float:
            return options[int(torch.randint(len(options), (1,), generator=generator))]

        shares, depths, inner = [], [], []
        for _ in self.widest:
            shares.append(pick(self.shares))
            depths.append(int(pick(self.depths)))
            inner.append(tuple(pick(self.expansions) for _ in range(depths[-1])))
        return self._config(tuple(shares), tuple(depths), tuple(inner))

    @property
    def choices(self) -> list[int]:
        """The number of options of each choice: by stage a share, a depth, an inside by block."""
        blocks = [len(self.expansions)] * self.depths[-1]
        return [len(self.shares), len(self.depths), *blocks] * len(self.widest)

    def from_choices(self, options: Sequence[int]) -> SubnetConfig:
        """The subnet of one option a choice, in the order of ``choices``."""
        length = 2 + self.depths[-1]
        stages = [options[n : n + length] for n in range(0, len(options), length)]
        return self._config(
            tuple(self.shares[stage[0]] for stage in stages),
            tuple(self.depths[stage[1]] for stage in stages),
            tuple(tuple(self.expansions[option] for option in stage[2:]) for stage in stages),
        )

    def cost(self, config: SubnetConfig) -> Cost:
        """What a subnet costs, by the arithmetic of its layers (batch norms have no MACs)."""
        side, width = -(-self.size // self.stem), self.channels
        weights = 9 * width * config.widths[0]
        macs, params, width = side**2 * weights, weights + 2 * config.widths[0], config.widths[0]
        for stage, (out, inner) in enumerate(zip(config.widths, config.inner, strict=True)):
            side = -(-side // 2) if stage > 0 else side
            for block, inner_width in enumerate(inner):
                weights = 9 * inner_width * (width + out)
                params += 2 * (inner_width + out)
                if stage > 0 and block == 0:
                    weights += width * out
                    params += 2 * out
                macs, params, width = macs + side**2 * weights, params + weights, out
        return Cost(macs + width * self.classes, params + (width + 1) * self.classes)

    def features(self, config: SubnetConfig) -> list[float]:
        """One-hot options: shares and depths by stage, expansions by block (all zero: left out)."""
        values: list[float] = []
        for widest, width, inner in zip(self.widest, config.widths, config.inner, strict=True):
            values += [float(round(share * widest) == width) for share in self.shares]
            values += [float(depth == len(inner)) for depth in self.depths]
            for block in range(self.depths[-1]):
                inner_width = inner[block] if block < len(inner) else None
                values += [float(inner_width == round(e * width)) for e in self.expansions]
        return values

    def _uniform(self, share: int, depth: int, inner: int) -> SubnetConfig:
        """The same options in every stage and block."""
        n = len(self.widest)
        blocks = (self.expansions[inner],) * self.depths[-1]
        return self._config((self.shares[share],) * n, (self.depths[depth],) * n, (blocks,) * n)

    def _config(
        self,
        shares: tuple[float, ...],
        depths: tuple[int, ...],
        inner: tuple[tuple[float, ...], ...],
    ) -> SubnetConfig:
        widths = tuple(round(s * w) for s, w in zip(shares, self.widest, strict=True))
        inner_widths = tuple(
            tuple(round(e * width) for e in expansions[:depth])
            for width, depth, expansions in zip(widths, depths, inner, strict=True)
        )
        return SubnetConfig(widths, inner_widths)
