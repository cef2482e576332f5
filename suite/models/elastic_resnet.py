"""A residual network of which smaller ones are leading parts, all sharing its weights.

Mousavi et al. 2025 (ProARD), after Cai et al. 2020 (Once-for-all): width, depth and the inner width
of each block are elastic in each stage. A form takes the first blocks of a stage, and of every
layer the first channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustbench_kd.core.tensor_types import Images, Logits
from robustbench_kd.models.resnet import Normalise, SmallResNet
from robustbench_kd.models.subnet_space import Form, Space

RECALIBRATION = 2000  # plain training images, as in the released code


class LeadingNorm(nn.BatchNorm2d):
    """Batch norm over the first channels.

    While ``live``, it normalises by the batch in eval mode as well: running statistics of a mixture
    of forms fit none of them, so none are gathered until a form is recalibrated.
    """

    live: bool = True

    def forward(self, x: Tensor) -> Tensor:
        c = x.shape[1]
        assert self.running_mean is not None
        assert self.running_var is not None
        live = self.live or self.training
        return F.batch_norm(
            x,
            None if live else self.running_mean[:c],
            None if live else self.running_var[:c],
            self.weight[:c],
            self.bias[:c],
            live,
            0.0,
            self.eps,
        )


def leading(layer: nn.Conv2d, x: Tensor, out: int) -> Tensor:
    """The convolution with its first ``out`` filters, over the first channels that ``x`` has."""
    weight = layer.weight[:out, : x.shape[1]]
    return F.conv2d(x, weight, None, layer.stride, layer.padding)


class ElasticBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut, each as wide as it is asked to be."""

    def __init__(self, wide: int, out: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(wide, out, 3, stride, 1, bias=False)
        self.first_norm = LeadingNorm(out)
        self.second = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.second_norm = LeadingNorm(out)
        self.shortcut: nn.ModuleList | None = None
        if stride != 1:
            self.shortcut = nn.ModuleList(
                [nn.Conv2d(wide, out, 1, stride, bias=False), LeadingNorm(out)]
            )

    def forward(self, x: Tensor, out: int, inner: int) -> Tensor:
        inside = torch.relu(self.first_norm(leading(self.first, x, inner)))
        side = x
        if self.shortcut is not None:
            conv, norm = self.shortcut
            assert isinstance(conv, nn.Conv2d)
            side = norm(leading(conv, x, out))
        return torch.relu(self.second_norm(leading(self.second, inside, out)) + side)


class ElasticResNet(nn.Module):
    """The whole family in one set of weights; ``active`` is the form that answers.

    ``survey`` holds clean and robust accuracy of some forms, as the search measured them.
    """

    survey: Tensor

    def __init__(
        self, space: Space, mean: Sequence[float], deviation: Sequence[float], surveyed: int = 60
    ) -> None:
        super().__init__()
        self.space, self.active = space, space.largest
        self.statistics = {"mean": tuple(mean), "deviation": tuple(deviation)}
        self.normalise = Normalise(mean, deviation)
        self.stem = nn.Conv2d(space.channels, space.widest[0], 3, space.stem, 1, bias=False)
        self.stem_norm = LeadingNorm(space.widest[0])
        self.stages = nn.ModuleList()
        wide = space.widest[0]
        for stage, out in enumerate(space.widest):
            blocks = [ElasticBlock(wide, out, 2 if stage > 0 else 1)]
            blocks += [ElasticBlock(out, out, 1) for _ in range(space.depths[-1] - 1)]
            self.stages.append(nn.ModuleList(blocks))
            wide = out
        self.head = nn.Linear(wide, space.classes)
        self.register_buffer("survey", torch.full((surveyed, 2), -1.0))

    def forward(self, x: Images) -> Logits:
        x = x.contiguous(memory_format=torch.channels_last)
        form = self.active
        h = leading(self.stem, self.normalise(x), form.widths[0])
        h = torch.relu(self.stem_norm(h))
        for stage, out, inner in zip(self.stages, form.widths, form.inner, strict=True):
            assert isinstance(stage, nn.ModuleList)
            for block, inside in zip(stage, inner, strict=False):
                h = block(h, out, inside)
        features = h.mean((2, 3))
        return F.linear(features, self.head.weight[:, : features.shape[1]], self.head.bias)

    def live(self, yes: bool) -> None:
        """Whether norms go by the batch in eval mode too; off once a form is recalibrated."""
        for module in self.modules():
            if isinstance(module, LeadingNorm):
                module.live = yes

    def subnet(self, form: Form) -> SmallResNet:
        """A stand-alone network with the leading weights and statistics of this form."""
        with torch.random.fork_rng(devices=[]):  # first weights are drawn, and overwritten below
            net = SmallResNet(
                form.widths,
                inner=form.inner,
                channels=self.space.channels,
                classes=self.space.classes,
                stem=self.space.stem,
                **self.statistics,
            ).to(memory_format=torch.channels_last)
        mine = self.state_dict()
        # Blocks are counted through in the static network, and by stage here.
        places = [f"{s}.{b}" for s, depth in enumerate(form.depths) for b in range(depth)]
        for name, value in net.state_dict().items():
            part, _, rest = name.removeprefix("stages.").partition(".")
            source = f"stages.{places[int(part)]}.{rest}" if name.startswith("stages.") else name
            value.copy_(mine[source][tuple(slice(0, size) for size in value.shape)])
        return net.train(self.training)


def sort_inner(net: ElasticResNet) -> None:
    """Re-orders the channels inside each block by the weight of the second convolution on them.

    The answers of the largest form stay the same; the leading channels become the useful ones,
    before inner widths are opened (Cai et al. 2020, sec. 3.3).
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


def cut(family: ElasticResNet, form: Form, images: Images, recalibrated: bool = True) -> nn.Module:
    """The student of a form, with statistics of its own over the first of these images."""
    student = family.subnet(form)
    return recalibrate(student, images[:RECALIBRATION]) if recalibrated else student.eval()


def recalibrate(net: nn.Module, images: Images, chunk: int = 200) -> nn.Module:
    """Gathers the batch-norm statistics of a static network anew, over these images.

    A network cut from an elastic one carries statistics of no form, or of another; without this it
    can answer at chance. The averages are cumulative, so their order does not matter.
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
