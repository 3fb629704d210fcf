"""What an image shows: each model is offered once, and each picture shows what its model does."""

import numpy as np
import pytest
from PIL import Image

import napari_diffusion as nd
from napari_diffusion.models import BUILTIN, Model
from napari_diffusion.ui.structures.table import (
    AUTOMATIC,
    FIRST_ROW,
    MORE,
    further_structures,
    structure_of,
)


class Foreign(Model):
    """A model of another package."""

    name, title, summary = "foreign", "Foreign filter", "Does something else."


def test_pictures_are_for_the_four_usual_kinds_of_images():
    expected = {
        "cells and tissue": nd.PeronaMalik,
        "flat regions": nd.TotalVariation,
        "fibres and sheets": nd.CoherenceEnhancing,
        "magnitude MRI": nd.Rician,
    }
    assert {structure.name: structure.model for structure in FIRST_ROW} == expected


def test_more_has_the_other_kinds_and_the_automatic_choice():
    expected = {
        "vessels": nd.VesselEnhancing,
        "membranes": nd.MembraneEnhancing,
        "ultrasound": nd.SpeckleReducing,
        "automatic": None,
    }
    assert {structure.name: structure.model for structure in MORE} == expected
    assert MORE[-1] is AUTOMATIC


def test_no_model_and_no_name_is_offered_twice():
    structures = [*FIRST_ROW, *further_structures([*BUILTIN, Foreign])]
    for values in ([s.name for s in structures], [s.model for s in structures]):
        assert len(set(values)) == len(values)


def test_models_of_other_packages_are_listed_by_title():
    *own, foreign = further_structures([*BUILTIN, Foreign])
    assert tuple(own) == MORE
    assert (foreign.name, foreign.model) == ("Foreign filter", Foreign)
    assert foreign.sentence == Foreign.summary
    assert structure_of(Foreign) == foreign


@pytest.mark.parametrize("structure", [*FIRST_ROW, *MORE], ids=lambda s: s.name)
def test_sentences_are_short(structure):
    for sentence in structure.sentence.rstrip(".").split(". "):
        assert 3 <= len(sentence.split()) <= 20


@pytest.mark.parametrize("structure", FIRST_ROW, ids=lambda s: s.name)
def test_picture_shows_noise_at_the_left_and_little_at_the_right(structure):
    with Image.open(structure.picture) as file:
        picture = np.asarray(file.convert("L"), float)
    assert picture.shape == (64, 64)
    with Image.open(structure.picture_at(2)) as file:
        fine = np.asarray(file.convert("L"), float)
    # A fine screen shows the same voxels, and a line of one voxel between the halves.
    np.testing.assert_array_equal(fine[::2, ::2], picture)
    left, right = picture[:, :31], picture[:, 34:]
    noise = [np.median(np.abs(np.diff(half, axis=1, n=2))) for half in (left, right)]
    assert noise[1] < 0.4 * noise[0]
    assert np.ptp(right) > 128
