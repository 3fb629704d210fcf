"""The text of the options about axes becomes a typed request, or is refused."""

import click
import pytest

from napari_diffusion.cli.axes import axis_request
from napari_diffusion.io.axes import AxisRequest


@pytest.mark.parametrize(
    ("text", "axes"),
    [
        ("ZYX", ("Z", "Y", "X")),
        ("z,y,x", ("Z", "Y", "X")),
        ("z yx", ("Z", "Y", "X")),
        ("012", (0, 1, 2)),
        ("0,1", (0, 1)),
        ("3, 10,-1", (3, 10, -1)),
        ("-1", (-1,)),
        ("0YX", (0, "Y", "X")),
    ],
)
def test_axes_are_letters_or_numbers(text, axes):
    assert axis_request({"axes": text}) == AxisRequest(axes=axes)


@pytest.mark.parametrize(("text", "axis"), [(" c ", "C"), ("3", 3), ("-1", -1)])
def test_channel_axis_is_a_letter_or_a_number(text, axis):
    assert axis_request({"channel_axis": text}) == AxisRequest(channel_axis=axis)


@pytest.mark.parametrize(
    ("text", "sizes"), [("2", (2.0,)), ("2,.5,5e-1", (2.0, 0.5, 0.5)), ("2 1", (2.0, 1.0))]
)
def test_spacing_is_one_or_several_numbers(text, sizes):
    assert axis_request({"spacing": text}) == AxisRequest(spacing=sizes)


def test_absent_options_request_nothing():
    assert axis_request({"time": 3.0}) == AxisRequest()
    assert axis_request({"unit": "µm", "axes": None}) == AxisRequest(unit="µm")


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("axes", ""),
        ("axes", " , "),
        ("axes", "Z;Y"),
        ("axes", "Z,--"),
        ("axes", "0.5"),
        ("channel_axis", ""),
        ("channel_axis", "RGB"),
        ("channel_axis", "?"),
        ("spacing", ""),
        ("spacing", "2,wide"),
        ("spacing", "2,0"),
        ("spacing", "-1"),
        ("spacing", "nan"),
        ("spacing", "inf"),
    ],
)
def test_bad_text_is_refused_in_words_of_the_command_line(option, text):
    flag = "--" + option.replace("_", "-")
    with pytest.raises(click.UsageError, match=f"^{flag} must be") as caught:
        axis_request({option: text})
    assert caught.value.message.endswith(f"got {text!r}.")
