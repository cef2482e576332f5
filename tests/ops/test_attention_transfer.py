"""Attention maps and their distance, by hand."""

from __future__ import annotations

import math

import torch

from robustbench_kd.core.seed import Seed
from robustbench_kd.ops.attention_transfer import attention_distance, attention_map


def test_an_attention_map_is_the_sum_of_powers_divided_by_its_length() -> None:
    """Channels (1, 2; 0, -3) and (-2, 0; 0, 1): the sums of squares are 5, 4, 0, 10."""
    layer = torch.tensor([[[[1.0, 2.0], [0.0, -3.0]], [[-2.0, 0.0], [0.0, 1.0]]]])
    squares = torch.tensor([[5.0, 4.0, 0.0, 10.0]]) / math.sqrt(25 + 16 + 100)
    torch.testing.assert_close(attention_map(layer), squares)
    sums = torch.tensor([[3.0, 2.0, 0.0, 4.0]]) / math.sqrt(9 + 4 + 16)
    torch.testing.assert_close(attention_map(layer, power=1.0), sums)


def test_the_distance_of_two_maps_is_the_mean_of_their_squared_differences() -> None:
    """(3, 4) / 5 and (1, 0): differences of -0.4 and 0.8, and (0.16 + 0.64) / 2 = 0.4."""
    a = torch.tensor([3.0, 4.0]).sqrt().view(1, 1, 1, 2)
    b = torch.tensor([[2.0, 0.0], [-2.0, 0.0]]).view(1, 2, 1, 2)
    torch.testing.assert_close(attention_distance(a, b), torch.tensor([0.4]))


def test_a_map_does_not_change_with_the_scale_and_allows_a_layer_of_zeros() -> None:
    layer = torch.randn(3, 4, 5, 5, generator=Seed().generator())
    torch.testing.assert_close(attention_map(7 * layer), attention_map(layer))
    dead = torch.zeros(2, 4, 5, 5, requires_grad=True)
    distance = attention_distance(dead, layer[:2]).sum()
    assert torch.equal(torch.autograd.grad(distance, dead)[0], torch.zeros_like(dead))
