"""What users of other programs have reported, tried on runs in blocks.

Concurrent writers of one shard lose values: zarr-python #3682, dask #12583. A last voxel of an odd
axis is lost in a pyramid: iohub #425. Integers become 0 in a pyramid: ngff-zarr #488. A halo wider
than a block or the image is refused: dask #6597, #11934. Levels lie beside one another: ome-zarr-py
#403. Missing chunks of zarr read as zeros (zarr-python #486): see test_resume.py. A chunk of one
value has no file (zarr-python #587, xarray #10633). TIFF ends at 4 GiB unnoticed (steinbock #275).
Streaming changes values (ITK #586): see test_bits.py.
"""

from itertools import pairwise

import numpy as np
import pytest
import tifffile
import zarr

from helpers.stores import noisy, result_of, run_in_memory, store_run, write_zarr
from napari_diffusion import io
from napari_diffusion.engine.recipe import Recipe
from napari_diffusion.io import zarr_pyramid
from napari_diffusion.io.tiff import FORMAT as TIFF
from napari_diffusion.io.volume import Volume, no_values
from napari_diffusion.io.zarr_pyramid import halved
from napari_diffusion.models import Linear, PeronaMalik


def levels(target):
    group = zarr.open_group(str(target), mode="r")
    count = len(group.attrs["ome"]["multiscales"][0]["datasets"])
    return [group[str(number)][...] for number in range(count)]


@pytest.fixture
def small_shards(monkeypatch):
    """Pyramids of small images, with several shards in each level."""
    monkeypatch.setattr(zarr_pyramid, "COARSEST", 8)
    monkeypatch.setattr(zarr_pyramid, "MAX_COARSE_SHARD_BYTES", 1 << 12)


def test_shards_of_many_chunks_and_many_writers(tmp_path):
    image = noisy((50, 50, 50), "float64")
    write_zarr(tmp_path / "in.zarr", image, (25, 25, 25), (50, 50, 50))
    recipe = Recipe(PeronaMalik(kappa=9.0), 0.3)
    run = store_run(
        tmp_path / "in.zarr", tmp_path / "out.zarr", recipe, block=(25, 25, 25), workers=4
    )
    run.execute()
    np.testing.assert_array_equal(result_of(run.target, run), run_in_memory(run))


def test_odd_axes_of_several_shards_lose_no_voxel(small_shards, tmp_path):
    image = noisy((31, 33, 35))
    write_zarr(tmp_path / "in.zarr", image, (8, 8, 8))
    run = store_run(
        tmp_path / "in.zarr", tmp_path / "out.zarr", Recipe(Linear(), 0.0), block=(8, 16, 16)
    )
    run.execute()
    assert run.pyramid.region_count(1) > 1
    arrays = levels(run.target)
    assert [each.shape for each in arrays] == [(31, 33, 35), (16, 17, 18), (8, 9, 9), (4, 5, 5)]
    for fine, coarse in pairwise(arrays):
        np.testing.assert_array_equal(coarse, halved(fine, (2, 2, 2)))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16"])
def test_integers_stay_what_they_are_in_all_levels(dtype, small_shards, tmp_path):
    write_zarr(tmp_path / "in.zarr", np.ones((20, 21, 22), dtype), (8, 8, 8))
    recipe = Recipe(PeronaMalik(), 0.3, preserve_dtype=True)
    run = store_run(tmp_path / "in.zarr", tmp_path / "out.zarr", recipe, block=(8, 16, 22))
    run.execute()
    for level in levels(run.target):
        assert level.dtype == dtype
        assert (level == 1).all()


def test_a_halo_wider_than_blocks_and_than_the_image(tmp_path):
    image = noisy((9, 10, 11))
    write_zarr(tmp_path / "in.zarr", image, (3, 5, 4))
    recipe = Recipe(PeronaMalik(kappa=9.0), 3.0, scheme="explicit")
    run = store_run(tmp_path / "in.zarr", tmp_path / "out.zarr", recipe, block=(3, 5, 4))
    assert min(run.plan.reach(0, len(run.plan.stages))) > max(image.shape)
    run.execute()
    np.testing.assert_array_equal(result_of(run.target, run), run_in_memory(run))


@pytest.mark.parametrize("fill", [0, 7])
def test_chunks_without_a_file_have_the_fill_value(fill, tmp_path):
    image = np.full((12, 13, 14), fill, "float32")
    image[:5, :6] = noisy((5, 6, 14))
    array = zarr.create_array(
        str(tmp_path / "in.zarr"), shape=image.shape, chunks=(4, 6, 7), dtype="f4", fill_value=fill
    )
    array[:5, :6] = image[:5, :6]
    recipe = Recipe(PeronaMalik(kappa=9.0), 0.5)
    run = store_run(tmp_path / "in.zarr", tmp_path / "out.zarr", recipe, block=(4, 6, 7), passes=2)
    run.execute()
    np.testing.assert_array_equal(result_of(run.target, run), run_in_memory(run))


def test_a_result_of_more_than_4_gib_is_a_bigtiff_of_its_full_size(tmp_path):
    shape = (1100, 1024, 1024)
    like = Volume(no_values(shape, np.float32), "ZYX", (2.0, 0.5, 0.5), "micrometer")
    path = tmp_path / "out.tif"
    flat = TIFF.lay_out(path, np.dtype("f4"), like, "")
    last = tuple(slice(n - 2, n) for n in shape)
    flat.write(path, last, np.full((2, 2, 2), 5, "f4"))  # the file is sparse
    with tifffile.TiffFile(path) as file:
        assert file.is_bigtiff
        assert file.series[0].shape == shape
    values = io.read(path).data
    assert values[-1, -1, -1] == values[-2, -2, -2] == 5
    assert values[-3, -1, -1] == values[-1, -1, -3] == 0
