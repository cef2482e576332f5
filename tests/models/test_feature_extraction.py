"""Features: what the last linear layer of a classifier is given."""

from __future__ import annotations

import pytest
import torch
from small_attacks import digits
from torch import nn

from robustbench_kd.core.errors import BadModel
from robustbench_kd.core.seed import Seed
from robustbench_kd.models.feature_extraction import features, last_linear
from robustbench_kd.scenarios.digits import Digits


def test_features_are_what_the_head_is_given() -> None:
    net, x = Digits().student("resnet-4-8", Seed()).eval(), digits(0, 5).test.inputs
    torch.testing.assert_close(last_linear(net)(features(net, x)), net(x))
    assert not last_linear(net)._forward_pre_hooks, "the hook was left behind"
    with pytest.raises(BadModel, match="no linear layer"):
        features(nn.Conv2d(1, 1, 3), x)
