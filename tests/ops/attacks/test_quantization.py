"""Codes of perturbations: they decode within ball and box, near what was encoded."""

from __future__ import annotations

import pytest
import torch
from box_images import images, moved
from hypothesis import given, settings
from hypothesis import strategies as st

from robustbench_kd.core.config import Budget, Norm
from robustbench_kd.ops.attacks.projections import distance, project
from robustbench_kd.ops.attacks.quantization import decode, encode

KINDS: list[Norm] = ["linf", "l2"]


@given(
    number=st.integers(0, 2**31),
    budget=st.builds(Budget, st.sampled_from(KINDS), st.floats(0, 3)),
)
@settings(max_examples=80)
def test_decoded_inputs_lie_in_ball_and_box_and_near_what_was_encoded(
    number: int, budget: Budget
) -> None:
    x = images(number)
    z = project(moved(x, number), x, budget)
    codes = encode(z, x, budget)
    assert codes.dtype == (torch.int8 if budget.kind == "linf" else torch.int16)
    decoded = decode(codes, x, budget)
    assert float(distance(decoded, x, budget.kind).max()) <= budget.amount * (1 + 1e-6) + 1e-7
    assert float(decoded.min()) >= 0
    assert float(decoded.max()) <= 1
    step = budget.amount / (127 / 0.5 if budget.kind == "linf" else 32767)
    assert float((decoded - z).abs().max()) <= step + 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_codes_survive_a_second_encoding(kind: Norm) -> None:
    """The stored input is the scored one: encoding the decoded input changes nothing in Linf."""
    x, budget = torch.full((3, 1, 4, 4), 0.5), Budget(kind, 0.1)
    codes = encode(project(moved(x, 1), x, budget), x, budget)
    again = encode(decode(codes, x, budget), x, budget)
    assert int((again.int() - codes.int()).abs().max()) <= (0 if kind == "linf" else 1)
    assert not bool(codes.eq(0).all())


@pytest.mark.parametrize("kind", KINDS)
def test_a_radius_of_zero_encodes_to_zeros(kind: Norm) -> None:
    x, budget = images(1), Budget(kind, 0.0)
    codes = encode(moved(x, 1), x, budget)
    assert not bool(codes.any())
    assert codes.dtype == (torch.int8 if kind == "linf" else torch.int16)
    assert torch.equal(decode(codes, x, budget), x)


def test_what_lies_outside_the_ball_is_encoded_at_its_edge() -> None:
    x = torch.full((1, 1, 1, 2), 0.5)
    z = torch.tensor([[[[0.9, 0.1]]]])
    assert encode(z, x, Budget("linf", 0.1)).flatten().tolist() == [127, -127]
    codes = encode(z, x, Budget("l2", 0.1))
    assert codes.flatten().tolist() == [32767, -32767]


def test_l2_codes_by_hand_are_truncated_towards_zero() -> None:
    x = torch.zeros(1, 1, 1, 2)
    z = torch.tensor([[[[0.5, 0.25]]]])
    assert encode(z, x, Budget("l2", 1.0)).flatten().tolist() == [16383, 8191]


@pytest.mark.parametrize("kind", KINDS)
def test_inputs_are_decoded_on_the_device_of_their_images(kind: Norm) -> None:
    x, budget = images(1), Budget(kind, 0.1)
    codes = encode(moved(x, 1), x, budget)
    assert decode(codes, x.to("meta"), budget).device.type == "meta"
