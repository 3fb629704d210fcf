"""Types of the arrays that the package passes around, and the check that an input is an array.

An object counts as an array if its own type says so. It then has a shape, a data type and an index,
or an interface of NumPy. `numpy.asarray` accepts more. It makes numbers of voxels in one long row
of an image of SimpleITK, and names of entries of a dictionary or of a group of arrays.
"""

from __future__ import annotations

import inspect
import os
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: An array of any type: an image, a mask, labels.
Array = NDArray[Any]
#: An image as :func:`napari_diffusion.diffuse` returns it.
Image = NDArray[Any]
#: Floating point numbers in any arrangement.
FloatArray = NDArray[np.floating]
#: Values that diffuse, shape ``(C, *space)``: channels first, then the axes of space.
Field = NDArray[np.floating]
#: What is stored of an operator at every voxel; the last axes are those of space.
Stored = NDArray[Any]
#: One byte per voxel.
Bytes = NDArray[np.uint8]
#: One byte per voxel; bit ``i`` is set where the face to the next voxel along axis ``i`` is open.
OpenFaces = NDArray[np.uint8]

#: What makes an array of an object, by an attribute of its type; the first that it has counts.
#: The attribute itself is not read, because that may load a file.
_CONVERSIONS = {
    "GetPixelIDValue": (
        "use sitk.GetArrayFromImage({name}), whose axes are z, y, x: "
        "its spacing is {name}.GetSpacing()[::-1]"
    ),
    "dataobj": "use np.asanyarray({name}.dataobj), with its axes in the order of the file",
    "toarray": "use {name}.toarray()",
    "todense": "use {name}.todense()",
    "asarray": "use {name}.asarray()",
    "compute": "use {name}.compute()",
    "keys": "choose one of its arrays by name",
    "data": "use its array, {name}.data",
    "image": "use its array, {name}.image",
    "read": "read its content first, for example by napari_diffusion.io.read(path).data",
    "__next__": "collect its parts first, by np.stack(list({name}))",
}
#: Attributes of types that have shape, data type and index, and yet no index along every axis.
_NO_INDEX = ("asarray", "toarray", "todense")
#: Interfaces of NumPy; a buffer is one, too.
_INTERFACES = ("__array__", "__array_interface__", "__array_struct__")


def as_lazy_array(value: Any, name: str) -> Any:
    """Return an array that can be indexed. A lazy array stays lazy, and is not read.

    Parameters
    ----------
    value
        An array, or lists of numbers or of arrays.
    name
        Name of the argument in messages.

    Raises
    ------
    TypeError
        When it is no array; the message says how to make one, if that is known.
    """
    if type(value) is np.ndarray:
        return value
    _refuse_lost_mask(value, name)
    is_lazy = all(hasattr(value, attribute) for attribute in ("shape", "dtype", "__getitem__"))
    # A table of pandas may have missing values; only the whole of it says so.
    if is_lazy and not isinstance(value, type) and not _has(value.dtype, "na_value"):
        if not (type(value).__name__ == "MultiScaleData" or any(_has(value, a) for a in _NO_INDEX)):
            return value
        raise TypeError(f"{name} must be an array, got {_kind(value)}; {_conversion(value, name)}.")
    _refuse_foreign(value, name)
    return _converted(value, name)


def as_array(value: Any, name: str) -> Array:
    """Return a NumPy array; parameters and errors as those of `as_lazy_array`."""
    lazy = as_lazy_array(value, name)
    if not isinstance(lazy, np.ndarray):
        shape_and_dtype(lazy, name)  # says more about a type that NumPy does not know
    return _converted(lazy, name)


def _converted(value: Any, name: str) -> Array:
    try:
        return np.asarray(value)
    except MemoryError:  # the type is right
        raise
    except Exception as error:  # what another library raises
        raise TypeError(f"{name} cannot be read as an array: {_reason(value, error)}.") from error


def shape_and_dtype(array: Any, name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return shape and data type of an array that can be indexed; no value is read.

    Raises
    ------
    TypeError
        When the array has no fixed shape, or a data type that NumPy does not know.
    """
    if type(array) is np.ndarray:
        return array.shape, array.dtype
    try:
        shape = tuple(int(n) for n in array.shape)
        return shape, _dtype(array, len(shape))
    except Exception as error:  # what another library raises
        advice = f"NumPy cannot read it: {_reason(array, error)}"
        if _has(array, "compute"):  # dask
            advice = f"use {name}.compute()"
        raise TypeError(
            f"{name} has shape {array.shape!s:.60} and dtype {array.dtype!s:.60}; {advice}."
        ) from None


def _dtype(array: Any, ndim: int) -> np.dtype[Any]:
    """Return the data type for NumPy; arrays of PyTorch and TensorStore have types of their own."""
    try:
        dtype: np.dtype[Any] = np.dtype(array.dtype)
    except TypeError:
        dtype = np.asarray(array[(slice(0, 0),) * ndim]).dtype
    return dtype


def _refuse_lost_mask(value: Any, name: str) -> None:
    """Refuse masked arrays whose mask `numpy.asarray` would drop."""
    if type(value) is np.ndarray or isinstance(value, np.ma.MaskedArray):
        return
    mask = getattr(value, "mask", None)
    if isinstance(getattr(value, "_meta", None), np.ma.MaskedArray):
        advice = f"use {name}.compute()"  # dask
    elif isinstance(value, list | tuple) and any(isinstance(v, np.ma.MaskedArray) for v in value):
        advice = f"use np.ma.stack({name})"
    elif isinstance(mask, np.ndarray) and mask.any():  # astropy
        values = "unmasked" if _has(value, "unmasked") else "data"
        advice = f"use np.ma.array({name}.{values}, mask={name}.mask)"
    else:
        return
    raise TypeError(f"{name} has masked values, which would be used as they are; {advice}.")


def _refuse_foreign(value: Any, name: str) -> None:
    """Refuse an object that is not an array, also within lists."""
    if isinstance(value, list | tuple):
        kinds: dict[type, Any] = {}
        for part in value:
            if isinstance(part, list | tuple):
                _refuse_foreign(part, name)
            else:
                kinds.setdefault(type(part), part)
        for part in kinds.values():
            _refuse_foreign(part, f"a part of {name}")
        return
    if getattr(value, "mode", None) == "P" and _has(value, "getpalette"):
        raise TypeError(
            f"{name} holds the numbers of colours in a palette; "
            f"use {name}.convert('L'), or {name}.convert('RGB')."
        )
    if _is_array_like(value):
        return
    advice = _conversion(value, name)
    advice = f"; {advice}" if advice else ""
    raise TypeError(f"{name} must be an array, got {_kind(value)}{advice}.")


def _is_array_like(value: Any) -> bool:
    """Whether NumPy can make an array of an object without a guess."""
    if isinstance(value, str | bytes | os.PathLike | type):
        return False
    if isinstance(value, complex | np.generic | range) or hasattr(value, "__float__"):
        return True
    if any(_has(value, attribute) for attribute in _INTERFACES):
        return True
    try:
        memoryview(value)
    except TypeError:
        return _begins_with_array(value)
    return True


def _begins_with_array(value: Any) -> bool:
    """Whether a sequence, such as a collection of pictures, begins with an array."""
    if not (_has(value, "__getitem__") and _has(value, "__len__")) or _has(value, "keys"):
        return False
    try:
        return isinstance(value[0], np.ndarray)
    except Exception:  # what another library raises
        return False


def _conversion(value: Any, name: str) -> str:
    """Return what makes an array of an object; empty when it is unknown."""
    if isinstance(value, type | ModuleType):
        return ""
    if isinstance(value, str | bytes | os.PathLike):
        return "read the file first, for example by napari_diffusion.io.read(path).data"
    if type(value).__name__ == "MultiScaleData":  # napari
        return f"use one of its levels, such as {name}[0]"
    texts = (text for attribute, text in _CONVERSIONS.items() if _has(value, attribute))
    return next(texts, "").format(name="part" if name.startswith("a part of") else name)


def _has(value: Any, attribute: str) -> bool:
    """Whether an object or its type defines an attribute; the attribute is not computed."""
    missing = object()
    return inspect.getattr_static(value, attribute, missing) is not missing


def _kind(value: Any) -> str:
    """Return the type of an object in words, with the value if it is a name."""
    if value is None:
        return "None"
    kind = value if isinstance(value, type) else type(value)
    package = kind.__module__.partition(".")[0]
    name = kind.__qualname__ if package == "builtins" else f"{package}.{kind.__qualname__}"
    if isinstance(value, str | bytes | os.PathLike):
        text = _one_line(os.fspath(value))
        return f"{name} {text if len(text) <= 60 else '...' + text[-57:]}"
    return f"the class {name}" if isinstance(value, type) else name


def _reason(value: Any, error: Exception) -> str:
    """Return why an object is no array, in words of this package or of another library."""
    if not isinstance(value, list | tuple):
        return " ".join(str(error).split()).rstrip(".") or type(error).__name__
    shapes = list(dict.fromkeys(str(part.shape) for part in value if isinstance(part, np.ndarray)))
    if len(shapes) > 1:
        return f"it has arrays of the different shapes {' and '.join(shapes[:2])}; use one of them"
    return f"{_one_line(value):.60} has rows of different length, or no numbers"


def _one_line(value: Any) -> str:
    return " ".join(repr(value).split())
