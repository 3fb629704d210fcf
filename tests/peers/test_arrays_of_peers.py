"""Images of SimpleITK are refused with a right conversion, or read right."""

import re

import numpy as np
import pytest

import napari_diffusion as nd


@pytest.mark.parametrize("place", ["image", "mask", "labels"])
def test_image_of_simpleitk_is_refused_with_its_conversion(itk, place):
    values = np.arange(120, dtype="u1").reshape(4, 5, 6)
    image = itk.GetImageFromArray(values)
    image.SetSpacing((0.5, 0.6, 2.0))
    arguments = {"image": values, place: image}
    if hasattr(image, "__array__"):  # later versions convert themselves
        np.testing.assert_array_equal(np.asarray(image), values)
        return
    with pytest.raises(TypeError) as caught:
        nd.diffuse(arguments.pop("image"), nd.Linear(), time=1.0, **arguments)
    array, spacing = re.search(r"use (.*?), whose .* is (.*)\.$", str(caught.value)).groups()
    names = {"sitk": itk, place: image}
    np.testing.assert_array_equal(eval(array, names), values)
    assert eval(spacing, names) == (2.0, 0.6, 0.5)
