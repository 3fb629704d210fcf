"""What the tests of files share: a recipe, a result, and the pixels of a file."""

import numpy as np

from napari_diffusion import io


class Recipe:
    """Replaces a recipe where files are written."""

    def __init__(self, text):
        self.text = text

    def to_json(self):
        return self.text


RECIPE = Recipe('{"model": "linear", "unit": "µm"}')


def load(path):
    """Return the pixels of a file."""
    return np.asarray(io.read(path).data)


def result_of(volume):
    """Return a substitute for a filter result: another dtype, other values, one NaN."""
    data = np.asarray(volume.data, np.float32) * np.float32(0.5) + np.float32(0.25)
    data[(0,) * data.ndim] = np.nan
    return data
