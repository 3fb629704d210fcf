"""An object that is no array is refused in one sentence; an array of any library is read right."""

import collections
import functools
import io
from pathlib import Path

import dask
import dask.array
import nibabel
import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image as Picture

import napari_diffusion as nd
from helpers.hostile import check_sentence, picture
from napari_diffusion.io.volume import Volume

VALUES = picture((4, 6, 7))
MASK = VALUES > 50
MODEL = nd.PeronaMalik(kappa=8.0)
TENSORS = nd.CoherenceEnhancing()
REGION = (1, slice(1, 5), slice(2, 6))


class OneRow:
    """An image as of SimpleITK: no interface of NumPy, which reads its voxels as one long row."""

    def __init__(self, values):
        self._values = values.ravel()

    def __len__(self):
        return self._values.size

    def __getitem__(self, index):
        return float(self._values[index])

    def GetPixelIDValue(self):
        return 8


class Sampled:
    """An image of astropy: the mask is an attribute that `numpy.asarray` does not see."""

    def __init__(self, values, mask):
        self.data, self.mask = values, mask

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.data, dtype)


class Tensor:
    """A tensor of PyTorch or TensorStore, whose dtype is unknown to NumPy."""

    dtype = "tensor.float32"

    def __init__(self, values, refusal=None):
        self._values, self.shape, self._refusal = values, values.shape, refusal

    def __getitem__(self, index):
        return Tensor(self._values[index], self._refusal)

    def __array__(self, dtype=None, copy=None):
        if self._refusal:
            raise RuntimeError(self._refusal)
        return np.asarray(self._values, dtype)


class Pictures:
    """A collection of pictures, as of scikit-image."""

    def __init__(self, values):
        self._values = values

    def __len__(self):
        return len(self._values)

    def __getitem__(self, index):
        return self._values[index]


def saved_tiff(_):
    content = io.BytesIO()
    tifffile.imwrite(content, VALUES, photometric="minisblack")
    content.seek(0)
    return tifffile.TiffFile(content)


def saved_arrays(_):
    content = io.BytesIO()
    np.savez(content, image=VALUES)
    content.seek(0)
    return np.load(content)


def palette(_):
    return Picture.fromarray(np.zeros((6, 7, 3), "u1")).convert("P")


def layers():
    """Return napari's module of layers; the library is also tested without napari."""
    return pytest.importorskip("napari.layers", exc_type=ImportError)


def levels(_):
    return layers().Image([VALUES, VALUES[:, ::2, ::2]], multiscale=True).data


# name: (object made in a folder, words of the sentence)
NO_ARRAYS = {
    "image of SimpleITK": (lambda _: OneRow(VALUES), ["OneRow", "sitk.GetArrayFromImage(", "z, y"]),
    "list of such images": (lambda _: [OneRow(v) for v in VALUES], ["a part of", "GetArrayFrom"]),
    "image of nibabel": (
        lambda _: nibabel.Nifti1Image(VALUES, np.eye(4)),
        ["nibabel.Nifti1Image", ".dataobj"],
    ),
    "layer of napari": (lambda _: layers().Image(VALUES), ["napari.Image", ".data"]),
    "labels layer of napari": (
        lambda _: layers().Labels(MASK.astype("u1")),
        ["napari.Labels", ".data"],
    ),
    "levels of napari": (levels, ["one of its levels"]),
    "layer data of napari": (lambda _: (VALUES, {"name": "a"}, "image"), ["dict"]),
    "volume of this package": (lambda _: Volume(VALUES, "ZYX", (1.0,) * 3), ["Volume", ".data"]),
    "state of a run": (lambda _: next(nd.evolve(VALUES, nd.Linear(), time=1.0)), [".image"]),
    "path": (lambda folder: folder / "a.tif", ["a.tif", "io.read"]),
    "text": (lambda _: "a.tif", ["'a.tif'", "io.read"]),
    "bytes": (lambda _: b"a.tif", ["b'a.tif'", "io.read"]),
    "open file": (lambda _: io.BytesIO(b"II*"), ["BytesIO", "io.read"]),
    "TIFF file": (saved_tiff, ["tifffile.TiffFile", ".asarray()"]),
    "series of a TIFF file": (lambda _: saved_tiff(_).series[0], [".asarray()"]),
    "file of NumPy arrays": (saved_arrays, ["NpzFile", "by name"]),
    "dictionary": (lambda _: {"image": VALUES}, ["dict", "by name"]),
    "ordered dictionary": (lambda _: collections.OrderedDict(a=VALUES), ["by name"]),
    "group of zarr": (lambda _: zarr.group(), ["zarr.Group", "by name"]),
    "generator": (lambda _: (v for v in VALUES), ["generator", "np.stack"]),
    "set": (lambda _: {1, 2}, ["set"]),
    "function": (lambda _: saved_tiff, ["function"]),
    "class": (lambda _: np.ndarray, ["class numpy.ndarray"]),
    "module": (lambda _: np, ["module"]),
    "object": (lambda _: object(), ["object"]),
    "None in a list": (lambda _: [None, None], ["None"]),
    "delayed object of dask": (lambda _: dask.delayed(abs)(VALUES), [".compute()"]),
    "picture with a palette": (palette, ["palette", "convert('RGB')"]),
    "arrays of two shapes": (lambda _: [VALUES, VALUES[:2]], ["(4, 6, 7)", "(2, 6, 7)"]),
    "hidden mask": (lambda _: Sampled(VALUES, MASK), ["masked values", "np.ma.array"]),
    "masked arrays in a list": (
        lambda _: [np.ma.array(v, mask=v > 50) for v in VALUES],
        ["masked values", "np.ma.stack"],
    ),
    "masked array of dask": (
        lambda _: dask.array.ma.masked_greater(dask.array.from_array(VALUES), 50),
        ["masked values", ".compute()"],
    ),
    "tensor that needs a conversion": (
        lambda _: Tensor(VALUES, "Use tensor.detach()\nfirst."),
        ["tensor.float32", "Use tensor.detach() first."],
    ),
}


@pytest.mark.parametrize("place", ["image", "mask", "labels"])
@pytest.mark.parametrize("case", NO_ARRAYS)
def test_what_is_no_array_is_refused_in_one_sentence(case, place, tmp_path):
    make, words = NO_ARRAYS[case]
    value = make(tmp_path)
    arguments = {"image": VALUES, place: value}
    with pytest.raises(TypeError) as caught:
        nd.diffuse(arguments.pop("image"), MODEL, time=1.0, **arguments)
    check_sentence(caught.value, place, *words)


ENTRIES = {
    "diffuse": functools.partial(nd.diffuse, model=MODEL, time=1.0),
    "evolve": functools.partial(nd.evolve, model=MODEL, time=1.0),
    "plan": functools.partial(nd.plan, model=MODEL, time=1.0),
    "preview": functools.partial(nd.preview, model=MODEL, time=1.0, region=REGION),
    "suggest": nd.suggest,
    "gradients": nd.gradients,
    "conductance": functools.partial(nd.conductance, model=MODEL),
    "coherence": functools.partial(nd.coherence, model=TENSORS),
    "directions": functools.partial(nd.directions, model=TENSORS),
    "integration_error": functools.partial(nd.integration_error, model=MODEL, time=1.0),
    "recipe": nd.Recipe(MODEL, 1.0).diffuse,
    "recipe, step by step": nd.Recipe(MODEL, 1.0).evolve,
}


@pytest.mark.parametrize("entry", ENTRIES)
def test_every_function_refuses_what_is_no_array(entry):
    with pytest.raises(TypeError, match=r"GetArrayFromImage\(image\)"):
        ENTRIES[entry](OneRow(VALUES))


def test_further_images_of_a_suggestion_are_checked():
    with pytest.raises(TypeError, match="GetArrayFromImage"):
        nd.suggest(VALUES, others=[OneRow(VALUES)])


ARRAYS = {
    "dask": lambda values: dask.array.from_array(values, chunks=(2, 6, 4)),
    "zarr": lambda values: zarr.array(values, chunks=(2, 6, 4)),
    "tensor": Tensor,
    "list of arrays": list,
    "tuple of arrays": tuple,
    "lists of numbers": lambda values: values.astype("f8").tolist(),
    "collection of pictures": Pictures,
    "buffer": lambda values: memoryview(values),
    "no masked value": lambda values: Sampled(values, np.zeros(values.shape, bool)),
    "array proxy of nibabel": lambda values: nibabel.Nifti1Image(values, np.eye(4)).dataobj,
}


@pytest.mark.parametrize("options", [{}, {"axes": (1, 2)}, {"channel_axis": 0}])
@pytest.mark.parametrize("kind", ARRAYS)
def test_array_of_any_library_gives_the_result_of_numpy(kind, options):
    result = nd.diffuse(ARRAYS[kind](VALUES), MODEL, time=1.0, **options)
    dtype = "f8" if kind == "lists of numbers" else "f4"
    np.testing.assert_array_equal(
        result, nd.diffuse(VALUES.astype(dtype), MODEL, time=1.0, **options)
    )


@pytest.mark.parametrize("place", ["mask", "labels"])
@pytest.mark.parametrize("kind", ["dask", "zarr", "tensor", "list of arrays"])
def test_regions_of_any_library_give_the_result_of_numpy(kind, place):
    regions = MASK if place == "mask" else MASK + 1
    theirs = {place: ARRAYS[kind](regions)}
    for run in (
        functools.partial(nd.diffuse, time=1.0),
        functools.partial(nd.preview, time=1.0, region=REGION),
        nd.conductance,
    ):
        expected = run(VALUES, MODEL, **{place: regions})
        np.testing.assert_array_equal(run(VALUES, MODEL, **theirs), expected)


@pytest.mark.parametrize(("place", "outside"), [("mask", "False"), ("labels", "0")])
def test_masked_regions_are_refused(place, outside):
    regions = np.ma.array(MASK if place == "mask" else MASK + 1, mask=VALUES > 80)
    with pytest.raises(TypeError, match=rf"{place}\.filled\({outside}\)"):
        nd.diffuse(VALUES, MODEL, time=1.0, **{place: regions})


def test_attributes_that_load_a_file_are_not_read():
    class Lazy:
        @property
        def data(self):
            raise AssertionError("must not be read")

    with pytest.raises(TypeError, match=r"Lazy; use its array, image\.data\."):
        nd.diffuse(Lazy(), MODEL, time=1.0)


def test_path_is_shown_with_its_type():
    with pytest.raises(TypeError, match="Path"):
        nd.diffuse(Path("a.nii"), MODEL, time=1.0)


class TooLarge:
    """A lazy array that does not fit into the memory."""

    shape, dtype = (4, 6, 7), np.dtype(np.float32)

    def __getitem__(self, index):
        raise MemoryError("Unable to allocate 1 TiB")

    def __array__(self, dtype=None, copy=None):
        raise MemoryError("Unable to allocate 1 TiB")


def test_mask_that_does_not_fit_into_the_memory_is_no_wrong_type():
    with pytest.raises(MemoryError, match="1 TiB"):
        nd.diffuse(VALUES, MODEL, time=1.0, mask=TooLarge())
