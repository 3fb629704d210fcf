"""Combo box: what happens to its value when the list of choices changes."""

import pytest

from napari_diffusion.ui.qt.choice_box import ChoiceBox


@pytest.fixture
def box(qtbot):
    """A box with choices that a test may replace, and a list of what it emits."""
    choices = [("one", 1), ("two", 2), ("three", 3)]
    box = ChoiceBox(choices=lambda _: list(choices), value=2)
    box.offered, box.emitted = choices, []
    box.changed.connect(box.emitted.append)
    return box


@pytest.mark.parametrize(
    ("offered", "value"),
    [
        ([("one", 1), ("two", 2)], 2),
        ([("two", 2), ("one", 1)], 2),
        ([("zero", 0), ("renamed", 2)], 2),
        ([("two", 7), ("one", 2)], 2),
        ([("zero", 0), ("two", 7)], 0),
        ([("three", 3)], 3),
        ([], None),
    ],
)
def test_another_list_keeps_the_value_or_replaces_it_and_emits_nothing(box, offered, value):
    box.offered[:] = offered
    box.reset_choices()
    assert (box.value, box.choices) == (value, tuple(number for _, number in offered))
    box.choices = [*offered, ("last", 9)]
    assert box.value == (9 if value is None else value)
    assert box.emitted == []


def test_choice_of_the_user_is_emitted_once(box, qtbot):
    box.native.setCurrentIndex(2)
    assert (box.value, box.emitted) == (3, [3])
    box.reset_choices()
    box.value = 1
    assert box.emitted == [3, 1]


def test_no_choice_is_kept(qtbot):
    box = ChoiceBox(choices=lambda _: [("one", 1)], nullable=True)
    assert box.value is None
    box.reset_choices()
    assert box.value is None
    box.value = 1
    box.reset_choices()
    assert box.value == 1
