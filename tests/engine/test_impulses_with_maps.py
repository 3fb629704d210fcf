"""A recipe with the option impulses and a map of thresholds: both act, in the right order."""

import dataclasses

import numpy as np
import pytest

import napari_diffusion as nd
from napari_diffusion import io
from napari_diffusion.cli import main
from napari_diffusion.core.geometry import Domain, Geometry
from napari_diffusion.engine.halo_block import HaloBlock
from napari_diffusion.engine.in_memory import run
from napari_diffusion.engine.out_of_core.blocks import run_in_blocks
from napari_diffusion.engine.planner import make_plan
from napari_diffusion.engine.problem import make_problem
from napari_diffusion.io import Volume
from napari_diffusion.models import BUILTIN, parameters
from napari_diffusion.workflows.file_run import filter_file

SHAPE = (20, 30, 44)
SPACING = (1.2, 1.0, 1.0)
#: The noise and the threshold are four times larger at the right.
MAP = [[[1.0, 1.0, 4.0, 4.0]], [[0.5, 1.0, 4.0, 2.0]]]
KINDS = [kind for kind in BUILTIN if any(p.is_map for p in parameters(kind))]
DOMAINS = {
    "whole": Domain(),
    "labels": Domain(labels=np.indices(SHAPE).sum(0) // 12 % 3),
    "mask": Domain(mask=np.indices(SHAPE)[2] > 9),
}


def dotted(shape=SHAPE):
    """Noise that differs from place to place, with hot voxels of 900 and dead ones of 0."""
    random = np.random.default_rng(8)
    noise, draw = random.normal(size=shape), random.random(shape)
    image = 300 + noise * np.linspace(4, 16, shape[-1])
    return np.select([draw < 0.005, draw > 0.995], [0, 900], image).astype(np.float32)


def repaired(image, **options):
    return nd.diffuse(image, nd.Linear(), time=0.0, impulses="mask", spacing=SPACING, **options)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_map_acts_on_the_repaired_image(kind):
    image, model = dotted(), kind(kappa_map=MAP)
    options = {"time": 0.2, "spacing": SPACING}
    before = repaired(image)
    assert (before != image).any()
    result = nd.diffuse(image, model, impulses="mask", **options)
    np.testing.assert_array_equal(result, nd.diffuse(before, model, **options))
    plain = dataclasses.replace(model, kappa_map=None)
    assert (result != nd.diffuse(image, plain, impulses="mask", **options)).any()


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("kind", [nd.PeronaMalik, nd.Hybrid], ids=lambda kind: kind.name)
def test_passes_and_blocks_equal_the_whole_run(kind, domain):
    image = dotted()
    image[3, 4, 25] = np.nan
    recipe = nd.Recipe(kind(kappa_map=MAP), 0.3, impulses="mask", nan="mask")
    problem = make_problem(image, recipe, Geometry(SPACING), DOMAINS[domain])
    whole = run(problem)
    np.testing.assert_array_equal(run_in_blocks(problem, (1, 2), (11, 30, 22)), whole)


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_block_with_the_planned_halo_is_exact(domain):
    """The block is repaired with its own voxels, and its factors are those of its place."""
    shape = (6, 7, 90)
    cut = {name: getattr(DOMAINS[domain], name) for name in ("mask", "labels")}
    cut = {k: None if v is None else np.resize(v, shape) for k, v in cut.items()}
    recipe = nd.Recipe(nd.PeronaMalik(kappa_map=MAP), 0.2, impulses="mask", scheme="explicit")
    problem = make_problem(dotted(shape), recipe, Geometry(SPACING), Domain(**cut))
    halo, whole = make_plan(problem).halo, run(problem)
    for start in range(20, 70, 5):
        region = (slice(None), slice(None), slice(start, start + 5))
        block = HaloBlock.around(problem, region, halo)
        assert block.cut == [2]
        part = run(block.problem_of_block())
        np.testing.assert_array_equal(part[block.inner], whole[region])


def test_preview_and_files_show_the_result(tmp_path):
    image, model = dotted(), nd.PeronaMalik(kappa=20.0, kappa_map=MAP)
    options = {"time": 0.5, "impulses": "mask", "spacing": SPACING}
    whole = nd.diffuse(image, model, **options)
    for region in ((10, slice(5, 25), slice(8, 40)), (slice(5, 15), 20, slice(None))):
        part = nd.preview(image, model, region=region, **options)
        np.testing.assert_allclose(part, whole[region], rtol=0, atol=1e-3 * np.ptp(whole))
    (path,) = io.write(tmp_path / "a.tif", image, Volume(image, "ZYX", SPACING, unit="micrometer"))
    recipe = nd.Recipe(model, 0.5, unit="micrometer", impulses="mask")
    recipe.save(tmp_path / "both.json")
    assert nd.Recipe.load(tmp_path / "both.json") == recipe
    written = filter_file(path, tmp_path / "b.tif", recipe)
    assert (
        main(["run", str(path), str(tmp_path / "c.tif"), "--recipe", f"{tmp_path}/both.json"]) == 0
    )
    for target in (written[0], tmp_path / "c.tif"):
        np.testing.assert_array_equal(np.asarray(io.read(target).data), whole)
        record = nd.Recipe.load(io.sidecar_of(io.read(target).path))
        assert (record.impulses, record.model) == ("mask", model)
