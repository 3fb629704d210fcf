"""The logarithmic scale of a slider."""

import math

import pytest

from napari_diffusion.ui.values.log_scale import RATIO, STEPS, LogScale


def test_the_centre_is_in_the_middle_and_steps_have_equal_ratios():
    scale = LogScale.around(5.0)
    assert scale.position(5.0) == STEPS // 2
    assert scale.value(STEPS // 2) == 5.0
    assert (scale.value(0), scale.value(STEPS)) == pytest.approx((5.0 / RATIO, 5.0 * RATIO))
    ratios = [scale.value(k + 40) / scale.value(k) for k in range(0, STEPS - 40, 40)]
    assert ratios == pytest.approx([RATIO ** (80 / STEPS)] * len(ratios), rel=0.01)


def test_position_and_value_are_inverse():
    scale = LogScale.around(0.0037)
    assert [scale.position(scale.value(k)) for k in range(STEPS + 1)] == list(range(STEPS + 1))


def test_the_closest_position_has_a_value_of_three_digits():
    scale = LogScale.around(math.pi)
    for k in range(STEPS + 1):
        value = scale.value(k)
        assert value == float(f"{value:.3g}")
    step = RATIO ** (2 / STEPS)
    middle = scale.low * step**100
    assert scale.position(middle * step**0.4) == scale.position(middle * step**-0.4) == 100
    assert scale.position(middle * step**0.6) == 101


@pytest.mark.parametrize("value", [1e-12, 1e12, 0.0, -1.0])
def test_values_beyond_an_end_are_at_the_end(value):
    assert LogScale.around(1.0).position(value) == (STEPS if value > 1 else 0)


def test_a_scale_is_extended_to_a_value():
    scale = LogScale.around(1.0)
    assert scale.including(3.0) == scale
    assert scale.including(1e6).position(1e6) == STEPS
    assert scale.including(1e-6).position(1e-6) == 0
