"""Hostile images and arguments of every public function end in a result or in one sentence."""

from __future__ import annotations

import inspect
import math
from datetime import UTC, datetime
from pathlib import Path

import dask.array
import numpy as np
import scipy.sparse
import zarr

import napari_diffusion as nd
from helpers.hostile import picture
from reliability.fuzz import refused
from reliability.report import Figures


class Raising:
    """An array of another library that cannot be converted."""

    shape, ndim, dtype = (4, 5), 2, np.dtype("f4")

    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("the device is lost")

    def __getitem__(self, key):
        raise RuntimeError("the device is lost")


class Nameless:
    """An object with a shape that is no tuple."""

    shape, dtype = "a shape", "a dtype"


def broken(value, dtype="f4"):
    image = picture((6, 7), dtype)
    image[3, 4] = value
    return image


def changed(name, value):
    def make():
        image = picture((6, 7))
        setattr(image, name, value)
        return image

    return make


#: Images: most of them are none.
IMAGES = {
    "NaN": lambda: broken(np.nan),
    "infinity": lambda: broken(-np.inf),
    "only NaN": lambda: np.full((4, 5), np.nan),
    "complex": lambda: picture((6, 7)).astype("c8"),
    "long double": lambda: picture((6, 7)).astype(np.longdouble),
    "object": lambda: picture((6, 7)).astype(object),
    "object of arrays": lambda: np.array([np.zeros(3), None], dtype=object),
    "structured": lambda: np.zeros((4, 5), [("a", "f4"), ("b", "i2")]),
    "records": lambda: np.zeros((4, 5), [("a", "f4")]).view(np.recarray),
    "text": lambda: np.array([["a", "b"], ["c", "d"]]),
    "numbers as text": lambda: np.array([["1", "2"], ["3", "4"]]),
    "bytes": lambda: np.array([[b"a", b"b"]]),
    "dates": lambda: np.zeros((4, 5), "M8[s]"),
    "durations": lambda: np.zeros((4, 5), "m8[s]"),
    "void": lambda: np.zeros((4, 5), "V4"),
    "no axis": lambda: np.array(3.0),
    "a number": lambda: 3.0,
    "a whole number": lambda: 10**400,
    "nothing": lambda: None,
    "a word": lambda: "image.tif",
    "a path": lambda: Path("image.tif"),
    "raw bytes": lambda: b"\x00" * 20,
    "ragged list": lambda: [[1.0, 2.0], [3.0]],
    "empty list": list,
    "nested empty lists": lambda: [[], []],
    "list of None": lambda: [[None, 1.0], [2.0, 3.0]],
    "deep list": lambda: eval("[" * 70 + "1.0" + "]" * 70),
    "dictionary": lambda: {"a": np.zeros(3)},
    "set": lambda: {1.0, 2.0},
    "generator": lambda: (i for i in range(3)),
    "a function": lambda: len,
    "a class": lambda: np.ndarray,
    "a module": lambda: np,
    "a date": lambda: datetime(2000, 1, 1, tzinfo=UTC),
    "masked everywhere": lambda: np.ma.masked_all((4, 5)),
    "masked with NaN": lambda: np.ma.array(broken(np.nan), mask=broken(0.0) == 0),
    "sparse matrix": lambda: scipy.sparse.csr_matrix(np.eye(5)),
    "dask of unknown shape": lambda: dask.array.from_array(np.arange(9.0))[
        dask.array.from_array(np.arange(9.0)) > 3
    ],
    "dask that fails": lambda: dask.array.from_array(picture((6, 7)), chunks=3).map_blocks(
        lambda block: 1 // 0, dtype="f4"
    ),
    "zarr group": zarr.group,
    "array that raises": Raising,
    "shape that is text": Nameless,
    "Fortran order": lambda: np.asfortranarray(picture((6, 7))),
    "stride zero": lambda: np.broadcast_to(picture((1, 7)), (6, 7)),
    "negative strides": lambda: picture((6, 7))[::-1, ::-1],
    "32 axes": lambda: np.zeros((1,) * 32),
    "no voxels": lambda: np.zeros((0, 5)),
    "one voxel": lambda: np.ones((1, 1)),
    "largest float32": lambda: np.full((4, 5), np.finfo("f4").max) * (-1.0) ** np.arange(5),
    "largest float64": lambda: np.full((4, 5), np.finfo("f8").max) * (-1.0) ** np.arange(5),
    "smallest float64": lambda: np.full((4, 5), 5e-324) * np.arange(5),
    "limits of int64": lambda: np.array([[2**63 - 1, -(2**63)] * 3] * 4),
    "limits of uint64": lambda: np.array([[2**64 - 1, 0] * 3] * 4, "u8"),
}

#: Errors of a lazy array itself, which are passed on.
PASSED_ON = {"dask that fails": ZeroDivisionError, "array that raises": RuntimeError}
#: Values of arguments.
ARGUMENTS = {
    "nothing": None,
    "NaN": math.nan,
    "infinity": math.inf,
    "negative": -1,
    "zero": 0,
    "true": True,
    "huge": 1e308,
    "tiny": 5e-324,
    "whole and huge": 10**400,
    "word": "a word",
    "empty word": "",
    "bytes": b"a",
    "empty list": [],
    "list": [1.0, "a"],
    "nested list": [[1.0], [2.0, 3.0]],
    "object": object(),
    "class": int,
    "dictionary": {"a": 1},
    "array": np.zeros((2, 3, 4)),
    "complex": 1j,
    "text in NumPy": np.array("a"),
}

MODELS = {"coherence": nd.CoherenceEnhancing(), "directions": nd.CoherenceEnhancing()}


def filters():
    """Return the public functions that take an image."""
    named = {name: getattr(nd, name) for name in nd.__all__}
    return {
        name: function
        for name, function in named.items()
        if inspect.isfunction(function)
        and next(iter(inspect.signature(function).parameters), None) == "image"
    }


def call(name, function, image, **changes):
    """Call a function of an image, with the values that it needs."""
    axes = getattr(image, "ndim", 2)
    needed = {
        "model": MODELS.get(name, nd.PeronaMalik(kappa=20.0, sigma=1.0)),
        "time": 0.5,
        "region": (slice(0, 2),) * (axes if isinstance(axes, int) else 2),
    }
    names = inspect.signature(function).parameters
    arguments = {key: value for key, value in needed.items() if key in names} | changes
    if name == "suggest":
        arguments["thorough"] = changes.get("thorough", False)
    result = function(image, **arguments)
    return list(result) if inspect.isgenerator(result) else result


def run(share):
    """Try all images, and a share of the arguments, on every public function of an image."""
    figures = Figures()
    refusals = 0
    cases = []
    for name, function in filters().items():
        cases += [(name, function, kind, make, {}) for kind, make in IMAGES.items()]
        for parameter in inspect.signature(function).parameters:
            if parameter in ("image", "progress", "cancel"):
                continue
            cases += [
                (name, function, f"{parameter} is {kind}", picture_2d, {parameter: value})
                for kind, value in ARGUMENTS.items()
            ]
    step = max(1, round(1 / share))
    for name, function, kind, make, changes in cases[::step]:
        try:
            _, sentence = refused(
                make, lambda image, n=name, f=function, c=changes: call(n, f, image, **c)
            )
            refusals += sentence is not None
            figures.check(True, "")
        except Exception as error:
            is_own = type(error) is PASSED_ON.get(kind)
            figures.check(is_own, f"{name}, {kind}: {type(error).__name__}: {error}")
    figures.rows["functions, images, arguments"] = (
        f"{len(filters())}, {len(IMAGES)}, {len(ARGUMENTS)}"
    )
    figures.rows["refused in one sentence"] = f"{refusals:,}"
    return figures


def picture_2d():
    return picture((6, 7))
