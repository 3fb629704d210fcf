"""Open faces between the regions of labels."""

import numpy as np
import pytest

from napari_diffusion.core.regions import open_faces


def test_faces_between_two_labels_are_closed():
    """Bit 0 is the face to the next row, bit 1 that to the next column."""
    labels = np.array([[1, 1, 2], [1, 2, 2]])
    faces = open_faces(labels)
    assert faces.dtype == np.uint8
    assert faces.tolist() == [[0b11, 0b00, 0b01], [0b00, 0b10, 0b00]]


def test_faces_along_the_third_axis_are_bit_2():
    labels = np.array([[[1, 1], [2, 2]], [[3, 3], [3, 0]]])
    assert open_faces(labels).tolist() == [[[0b100, 0], [0b100, 0]], [[0b110, 0], [0, 0]]]


def test_faces_around_and_within_label_0_are_closed():
    mask = np.array([[1, 0, 0], [1, 0, 0]])
    assert open_faces(mask).tolist() == [[0b01, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize("labels", [np.zeros((3, 4), int), np.zeros((1, 1), bool)])
def test_image_outside_the_domain_has_no_open_face(labels):
    assert not open_faces(labels).any()


@pytest.mark.parametrize("labels", [np.ones((3, 4), bool), np.full((2, 3, 4), 7), np.ones((1, 1))])
def test_one_region_for_the_whole_image_has_no_walls(labels):
    assert open_faces(labels) is None
