"""Records of version 0.1.0, written before recipes had a format number, still mean the same runs.

`tests/data/saved` holds for each of the eleven models a recipe with special parameters, the result
as OME-TIFF and NIfTI with the recipe inside, and the pixels of the result. `history.json` is the
metadata of a layer that was filtered by all eleven models in turn.
"""

import json

import nibabel
import numpy as np
import pytest

import napari_diffusion as nd
from helpers.omexml import recipes
from helpers.paths import ROOT
from napari_diffusion import io
from napari_diffusion.ui.run.settings import history

SAVED = ROOT / "tests" / "data" / "saved"
#: Processors round exponentials and fused products differently, by some units of the last digit.
ROUNDING = 2e-6
#: Changes of results since version 0.1.0 that the changelog declares, as shares of the range.
DECLARED = {"vessel-enhancing": 3e-3, "edge-enhancing": 1e-3, "hybrid": 1e-3}
PARAMETERS = {
    "linear": {},
    "perona-malik": {"kappa": 11.0, "diffusivity": "tukey", "sigma": 0.4},
    "total-variation": {"kappa": 6.0, "epsilon": 0.02},
    "mean-curvature": {},
    "modified-curvature": {"kappa": 9.0, "diffusivity": "rational"},
    "edge-enhancing": {"kappa": 8.0, "sigma": 0.6, "rho": 0.9},
    "coherence-enhancing": {
        "kappa": 4.0,
        "sigma": 0.5,
        "rho": 1.5,
        "alpha": 0.02,
        "selectivity": 0.0,
    },
    "hybrid": {
        "kappa": 9.0,
        "contrast": 6.0,
        "sigma": 0.5,
        "rho": 0.8,
        "coherence": 12.0,
        "alpha": 0.03,
    },
    "vessel-enhancing": {
        "gamma": 12.0,
        "sigma": 0.5,
        "thickest": 1.5,
        "polarity": "dark",
        "omega": 5.0,
        "epsilon": 0.02,
        "sensitivity": 3.0,
        "clear": 1.0,
    },
    "speckle-reducing": {"q0": 0.25},
    "rician": {"sigma_noise": 7.0},
}
RUN_OPTIONS = {
    "linear": {"nan": "mask"},
    "perona-malik": {"scheme": nd.schemes.Explicit(step=0.02)},
    "total-variation": {"scheme": nd.schemes.RKL2(supersteps=6)},
    "mean-curvature": {"strict": True},
    "modified-curvature": {"scheme": "explicit"},
    "edge-enhancing": {"scheme": nd.schemes.Midpoint(cycles=3)},
    "coherence-enhancing": {"scheme": nd.schemes.FSI(cycles=3)},
    "hybrid": {"tolerance": 5e-3},
    "vessel-enhancing": {},
    "speckle-reducing": {"preserve_dtype": True},
    "rician": {},
}
#: The models of version 0.1.0, in the order of the layer history.
NAMES = list(PARAMETERS)


def expected(name):
    """Return the recipe that was saved."""
    labels = "cells" if name == "vessel-enhancing" else None
    where = {"spacing": (1.0, 0.5, 0.5), "axes": (0, 1, 2), "axis_names": ("z", "y", "x")}
    return nd.Recipe(
        nd.models.get(name)(**PARAMETERS[name]),
        0.3,
        unit="micrometer",
        labels=labels,
        version="0.1.0",
        **where,
        **RUN_OPTIONS[name],
    )


def recipe_in(path):
    """Return the recipe text inside an OME-TIFF or NIfTI file, read without the package."""
    if path.suffix == ".nii":
        (text,) = [e.get_content() for e in nibabel.load(path).header.extensions]
        return text.decode() if isinstance(text, bytes) else text
    (text,) = recipes(path)
    return text


@pytest.mark.parametrize("name", NAMES)
def test_saved_recipe_gives_the_saved_result(name):
    recipe = nd.Recipe.load(SAVED / f"{name}.json")
    assert recipe == expected(name)
    image = np.load(SAVED / "image.npy")
    labels = {"labels": None} if recipe.labels else {}
    result = recipe.diffuse(image, **labels)
    direct = nd.diffuse(
        image, expected(name).model, time=0.3, spacing=(1.0, 0.5, 0.5), **RUN_OPTIONS[name]
    )
    np.testing.assert_array_equal(result, direct)
    saved = np.load(SAVED / f"{name}.npy")
    assert result.dtype == saved.dtype
    limit = DECLARED.get(name, ROUNDING) * np.ptp(image)
    np.testing.assert_allclose(result, saved, rtol=0, atol=limit)


@pytest.mark.parametrize("suffix", [".ome.tif", ".nii"])
@pytest.mark.parametrize("name", NAMES)
def test_saved_file_holds_its_pixels_and_its_recipe(name, suffix):
    path = SAVED / f"{name}{suffix}"
    volume = io.read(path)
    data = np.asarray(volume.data)
    saved = np.load(SAVED / f"{name}.npy")
    np.testing.assert_array_equal(data.T if suffix == ".nii" else data, saved)
    assert volume.unit == "micrometer"
    sizes = dict(zip(volume.axes, volume.spacing, strict=True))
    assert sizes == pytest.approx({"Z": 1.0, "Y": 0.5, "X": 0.5})
    text = recipe_in(path)
    assert nd.Recipe.from_json(text) == expected(name)


def test_saved_layer_keeps_its_history():
    steps = history(json.loads((SAVED / "history.json").read_text()))
    assert [nd.Recipe.from_dict(step["recipe"]) for step in steps] == [
        expected(name) for name in NAMES
    ]
    assert {step["source"] for step in steps} == {"cells"}
    assert [step.get("stopped") for step in steps] == [None] * 10 + [
        {"time": 0.2, "frame": None, "ordered": 0.3}
    ]
