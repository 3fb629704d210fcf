"""Every public name works after every submodule has been imported.

A submodule with the name of a public function, `napari_diffusion.suggest` say, would replace it.
"""

import importlib
import inspect
import pkgutil
import tempfile
from pathlib import Path

import numpy as np
import pytest

import napari_diffusion as nd
from napari_diffusion import io

IMAGE = np.random.default_rng(0).normal(100, 10, (24, 24)).astype(np.float32)
RUN = {"model": nd.PeronaMalik(kappa=10.0), "time": 0.5}
TENSOR = nd.EdgeEnhancing(kappa=10.0)
FOLDERS = []


def in_a_folder():
    """Source and target of a run of files, in a folder that is removed at the end."""
    FOLDERS.append(tempfile.TemporaryDirectory())
    folder = Path(FOLDERS[-1].name)
    io.write(folder / "a.tif", IMAGE, io.Volume(IMAGE, "YX", (1.0, 1.0)))
    return folder / "a.tif", folder / "a.ome.zarr"


#: A call of every public function, and the type of what it returns.
CALLS = {
    "devices": (lambda f: f(), tuple),
    "cite": (lambda f: f(RUN["model"]), str),
    "coherence": (lambda f: f(IMAGE, TENSOR), np.ndarray),
    "conductance": (lambda f: f(IMAGE, TENSOR), np.ndarray),
    "diffuse": (lambda f: f(IMAGE, **RUN), np.ndarray),
    "diffuse_store": (lambda f: f(*in_a_folder(), **RUN), Path),
    "directions": (lambda f: f(IMAGE, TENSOR), nd.Directions),
    "equivalent_sigma": (lambda f: f(2.0), float),
    "evolve": (lambda f: next(f(IMAGE, **RUN)), nd.State),
    "gradients": (lambda f: f(IMAGE), nd.Gradients),
    "integration_error": (lambda f: f(IMAGE, **RUN), float),
    "plan": (lambda f: f(IMAGE, **RUN), nd.Plan),
    "plan_store": (lambda f: f(*in_a_folder(), **RUN), nd.BlockPlan),
    "preview": (lambda f: f(IMAGE, region=(slice(4, 9), 5), **RUN), np.ndarray),
    "suggest": (lambda f: f(IMAGE, nd.Linear()), nd.Suggestion),
    "time_for_sigma": (lambda f: f(2.0), float),
}
#: Types that a caller makes; the others are results.
MADE = {"Cancelled": ("reason",), "Recipe": (nd.Linear(), 1.0)}
RESULTS = {"Device", "BlockPlan", "Directions", "Gradients", "Plan", "State", "Suggestion"}
MODULES = {"models", "presets", "schemes"}


@pytest.fixture(scope="module", autouse=True)
def every_submodule():
    """Import all submodules, those of the widgets included; a `__main__` runs the program."""
    names = [m.name for m in pkgutil.walk_packages(nd.__path__, "napari_diffusion.")]
    imported = [name for name in names if not name.endswith("__main__")]
    for name in imported:
        importlib.import_module(name)
    assert len(imported) > 100


def test_every_public_name_is_called_below():
    models = {cls.__name__ for cls in nd.models.BUILTIN}
    assert set(nd.__all__) == {*CALLS, *MADE, *RESULTS, *MODULES, *models, "Model"}
    assert set(nd.__all__) <= set(dir(nd))


@pytest.mark.parametrize("name", CALLS)
def test_functions_can_be_called(name):
    call, kind = CALLS[name]
    assert isinstance(call(getattr(nd, name)), kind)


@pytest.mark.parametrize("cls", nd.models.BUILTIN, ids=lambda cls: cls.__name__)
def test_models_can_be_made(cls):
    model = getattr(nd, cls.__name__)()
    assert isinstance(model, cls)
    assert isinstance(model, nd.Model)


@pytest.mark.parametrize("name", MADE)
def test_types_can_be_made(name):
    kind = getattr(nd, name)
    assert isinstance(kind(*MADE[name]), kind)


@pytest.mark.parametrize("name", sorted(RESULTS))
def test_types_of_results_are_classes(name):
    assert inspect.isclass(getattr(nd, name))


def test_only_lists_of_entries_are_modules():
    modules = {name for name in nd.__all__ if inspect.ismodule(getattr(nd, name))}
    assert modules == MODULES
    assert nd.schemes.Explicit().name == "explicit"
    assert nd.models.get("linear") is nd.Linear
    assert isinstance(nd.presets.medpy(IMAGE), nd.Recipe)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="blur"):
        _ = nd.blur
