"""The history of a result names the devices that computed it."""

from types import SimpleNamespace

import numpy as np
import pytest

import napari_diffusion as nd
from napari_diffusion.ui.files.writers import _common_recipe
from napari_diffusion.ui.run.run import Run
from napari_diffusion.workflows.outputs import OutputRequest, Outputs

RECIPE = nd.Recipe(nd.Linear(), 1.0)


@pytest.mark.parametrize(
    ("devices", "recorded"), [(("Card", "cpu"), ["Card", "cpu"]), (("cpu",), None)]
)
def test_history_names_the_devices_of_the_result(devices, recorded):
    settings = SimpleNamespace(recipe=RECIPE.on_devices(("Older",)), region=None, frames=1)
    style = SimpleNamespace(name="a", metadata={})
    run = Run(None, settings, OutputRequest(), None, style, lambda: None)
    notes = run._provenance(Outputs(np.zeros(3), (1.0,), devices=devices), stopped=False)
    assert notes["recipe"].get("computed_on") == recorded


def test_layers_from_different_devices_have_one_recipe():
    assert _common_recipe([RECIPE.on_devices(("Card",)), RECIPE]) == RECIPE.on_devices(("Card",))
    assert _common_recipe([RECIPE, None]) is None
    assert _common_recipe([RECIPE, nd.Recipe(nd.Linear(), 2.0)]) is None
