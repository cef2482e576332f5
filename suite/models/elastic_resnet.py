"""A residual supernet whose subnets are its leading channels and blocks, with shared weights.

Mousavi et al. 2025 (ProARD), after Cai et al. 2020 (Once-for-all): width, depth and the inner width
of each block are elastic in each stage. A subnet takes the first blocks of a stage, and of every
layer the first channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustbench_kd.core.tensor_types import Images, Logits
from robustbench_kd.models.resnet import Normalise, SmallResNet
from robustbench_kd.models.subnet_space import SubnetConfig, SubnetSpace

RECALIBRATION = 2000  # plain training images, as in the released code


class SlicedBatchNorm2d(nn.BatchNorm2d):
    """Batch norm over the first channels.

    With ``batch_statistics`` it normalises by the batch in eval mode as well: running statistics of
    a mixture of subnets fit none of them, so none are gathered until a subnet is recalibrated.
    """

    batch_statistics: bool = True

    def forward(self, x: Tensor) -> Tensor:
        c = x.shape[1]
        assert self.running_mean is not None
        assert self.running_var is not None
        by_batch = self.batch_statistics or self.training
        return F.batch_norm(
            x,
            None if by_batch else self.running_mean[:c],
            None if by_batch else self.running_var[:c],
            self.weight[:c],
            self.bias[:c],
            by_batch,
            0.0,
            self.eps,
        )


def sliced_convolution(layer: nn.Conv2d, x: Tensor, out: int) -> Tensor:
    """The convolution with its first ``out`` filters, over the first channels that ``x`` has."""
    weight = layer.weight[:out, : x.shape[1]]
    return F.conv2d(x, weight, None, layer.stride, layer.padding)


class ElasticBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut, of the widths given with each pass."""

    def __init__(self, width: int, out: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, out, 3, stride, 1, bias=False)
        self.first_norm = SlicedBatchNorm2d(out)
        self.second = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.second_norm = SlicedBatchNorm2d(out)
        self.shortcut: nn.ModuleList | None = None
        if stride != 1:
            self.shortcut = nn.ModuleList(
                [nn.Conv2d(width, out, 1, stride, bias=False), SlicedBatchNorm2d(out)]
            )

    def forward(self, x: Tensor, out: int, inner: int) -> Tensor:
        hidden = torch.relu(self.first_norm(sliced_convolution(self.first, x, inner)))
        skip = x
        if self.shortcut is not None:
            conv, norm = self.shortcut
            assert isinstance(conv, nn.Conv2d)
            skip = norm(sliced_convolution(conv, x, out))
        return torch.relu(self.second_norm(sliced_convolution(self.second, hidden, out)) + skip)


class ElasticResNet(nn.Module):
    """A supernet: all subnets in one set of weights; ``active`` is the subnet that answers.

    ``survey`` holds clean and robust accuracy of some subnets, as the search measured them.
    """

    survey: Tensor

    def __init__(
        self,
        space: SubnetSpace,
        mean: Sequence[float],
        deviation: Sequence[float],
        surveyed: int = 60,
    ) -> None:
        super().__init__()
        self.space, self.active = space, space.largest
        self.statistics = {"mean": tuple(mean), "deviation": tuple(deviation)}
        self.normalise = Normalise(mean, deviation)
        self.stem = nn.Conv2d(space.channels, space.widest[0], 3, space.stem, 1, bias=False)
        self.stem_norm = SlicedBatchNorm2d(space.widest[0])
        self.stages = nn.ModuleList()
        width = space.widest[0]
        for stage, out in enumerate(space.widest):
            blocks = [ElasticBlock(width, out, 2 if stage > 0 else 1)]
            blocks += [ElasticBlock(out, out, 1) for _ in range(space.depths[-1] - 1)]
            self.stages.append(nn.ModuleList(blocks))
            width = out
        self.head = nn.Linear(width, space.classes)
        self.register_buffer("survey", torch.full((surveyed, 2), -1.0))

    def forward(self, x: Images) -> Logits:
        x = x.contiguous(memory_format=torch.channels_last)
        config = self.active
        h = sliced_convolution(self.stem, self.normalise(x), config.widths[0])
        h = torch.relu(self.stem_norm(h))
        for stage, out, inner in zip(self.stages, config.widths, config.inner, strict=True):
            assert isinstance(stage, nn.ModuleList)
            for block, inner_width in zip(stage, inner, strict=False):
                h = block(h, out, inner_width)
        features = h.mean((2, 3))
        return F.linear(features, self.head.weight[:, : features.shape[1]], self.head.bias)

    def use_batch_statistics(self, flag: bool) -> None:
        """Whether norms use the batch in eval mode too; off once a subnet is recalibrated."""
        for module in self.modules():
            if isinstance(module, SlicedBatchNorm2d):
                module.batch_statistics = flag

    def subnet(self, config: SubnetConfig) -> SmallResNet:
        """A stand-alone network with the leading weights and statistics of this subnet."""
        with torch.random.fork_rng(devices=[]):  # initial weights are drawn, then overwritten
            net = SmallResNet(
                config.widths,
                inner=config.inner,
                channels=self.space.channels,
                classes=self.space.classes,
                stem=self.space.stem,
                **self.statistics,
            ).to(memory_format=torch.channels_last)
        weights = self.state_dict()
        # Blocks are numbered consecutively in the static network, and by stage here.
        places = [f"{s}.{b}" for s, depth in enumerate(config.depths) for b in range(depth)]
        for name, value in net.state_dict().items():
            block, _, rest = name.removeprefix("stages.").partition(".")
            source = f"stages.{places[int(block)]}.{rest}" if name.startswith("stages.") else name
            value.copy_(weights[source][tuple(slice(0, size) for size in value.shape)])
        return net.train(self.training)


def sort_inner_channels(net: ElasticResNet) -> None:
    """Re-orders the channels inside each block by the weight of the second convolution on them.

    The function of the largest subnet stays the same; the leading channels become the important
    ones, before inner widths become elastic (Cai et al. 2020, sec. 3.3).
    """
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, ElasticBlock):
                order = module.second.weight.abs().sum((0, 2, 3)).argsort(descending=True)
                module.first.weight.copy_(module.first.weight[order])
                module.second.weight.copy_(module.second.weight[:, order])
                for value in module.first_norm.state_dict().values():
                    if value.dim() == 1:
                        value.copy_(value[order])


def extract_subnet(
    supernet: ElasticResNet, config: SubnetConfig, images: Images, recalibrated: bool = True
) -> nn.Module:
    """The student of a subnet, with batch-norm statistics over the first of these images."""
    student = supernet.subnet(config)
    if not recalibrated:
        return student.eval()
    return recalibrate_batch_norm(student, images[:RECALIBRATION])


def recalibrate_batch_norm(net: nn.Module, images: Images, chunk: int = 200) -> nn.Module:
    """Gathers the batch-norm statistics of a static network anew, over these images.

    A network extracted from an elastic one has statistics of no subnet, or of another; without this
    it can answer at chance. The averages are cumulative, so their order does not matter.
    """
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    net.train()
    with torch.no_grad():
        for part in images.split(chunk):
            if len(part) > 1:
                net(part)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return net.eval()
