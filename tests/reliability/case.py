"""One case of the fuzzer: an image, a model and the options of a run, all drawn from a seed.

A new model, scheme or backend is drawn as soon as it is registered, and a declared option of a run
(a field of `RecipeFields` or `Execution`) as soon as it is declared. An option that is an array, or
whose values no declaration gives, needs one line in `ARRAYS` or `VALUES`.
"""

from __future__ import annotations

import dataclasses
import math
import tempfile
from typing import Any

import dask.array
import numpy as np
import zarr

import napari_diffusion as nd
from napari_diffusion import models
from napari_diffusion.engine.execution import Execution
from napari_diffusion.engine.recipe_fields import run_options
from napari_diffusion.models import parameters

SIZES = [1, 2, 3, 4, 5, 7, 9, 13, 20]
MOST_VOXELS = 2500
#: Largest number of stages of a case; longer times are shortened to it.
MOST_STAGES = 200
#: The same for a model with a ball, divided by the voxels of the ball: the reference visits each.
MOST_VISITS = 20_000
DTYPES = ["f4"] * 6 + ["f8"] * 4 + ["f2", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "b1"]
#: Numbers at the ends of what a declaration allows.
EXTREMES = [1e-300, 1e-30, 1e-9, 1e9, 1e30, 1e300]


def picture(rng, shape):
    """Return a body with edges, a ramp and noise."""
    x = np.indices(shape).sum(0)
    return 60.0 * (x > sum(shape) / 3) + x + 20 + rng.uniform(0, 12) * rng.normal(size=shape)


#: Kinds of values: functions of the generator and the shape, in intensities of about 100.
CONTENTS = {
    "picture": picture,
    "noise": lambda rng, shape: rng.normal(100, 30, shape),
    "one value": lambda rng, shape: np.full(shape, rng.choice([0.0, 0.1, 37.3, 255.0])),
    "two values": lambda rng, shape: np.where(rng.random(shape) < 0.3, 200.0, 3.0),
    "single voxels": lambda rng, shape: 100.0 * (rng.random(shape) < 0.05),
    "negative": lambda rng, shape: -picture(rng, shape),
    "on an offset": lambda rng, shape: 1e6 + picture(rng, shape),
    "tiny": lambda rng, shape: 1e-30 * picture(rng, shape),
    "huge": lambda rng, shape: 1e15 * picture(rng, shape),
    "limits": lambda rng, shape: np.where(rng.random(shape) < 0.5, -np.inf, np.inf),
}
SHARES = [8, 3, 1, 1, 1, 1, 1, 1, 1, 1]


def limited(values, dtype):
    """Return values in a data type; infinite ones become its limits (for floats, 0 and 1e4)."""
    if dtype.kind == "b":
        return values > (np.sort(values, None)[values.size // 2] if values.size else 0)
    if dtype.kind == "f":
        bounded = np.where(np.isinf(values), 1e4 * (values > 0), values)
        largest = 6e4 if dtype.itemsize == 2 else np.inf
        return np.clip(bounded, -largest, largest).astype(dtype)
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    inside = np.clip(np.nan_to_num(values), float(low) / 2, float(high) / 2).astype(dtype)
    return np.where(values == np.inf, dtype.type(high), np.where(values == -np.inf, low, inside))


def mapped(array):
    """Return a memory map of a file that the system removes when the map is closed."""
    if not array.size:
        return array
    with tempfile.TemporaryFile() as file:
        file.write(array.tobytes())
        file.flush()
        return np.memmap(file, array.dtype, "r", shape=array.shape)


def unaligned(array):
    raw = np.empty(array.nbytes + 1, np.uint8)
    view = raw[1:].view(array.dtype).reshape(array.shape)
    view[...] = array
    return view


def frozen(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def every_other(array):
    wide = np.repeat(np.repeat(array, 2, 0), 2, -1)
    return wide[::2, ..., ::2] if array.ndim > 1 else np.repeat(array, 2)[::2]


def chunked(array):
    return tuple(max(1, n // 2) for n in array.shape)


#: Layouts in memory, and arrays of other libraries, with the same values.
LAYOUTS = {
    "C order": np.ascontiguousarray,
    "Fortran order": np.asfortranarray,
    "negative strides": lambda a: np.flip(np.ascontiguousarray(np.flip(a))),
    "every other voxel": every_other,
    "transposed": lambda a: np.ascontiguousarray(a.T).T,
    "read-only": frozen,
    "unaligned": unaligned,
    "other byte order": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "memory map": mapped,
    "dask": lambda a: dask.array.from_array(a, chunks=chunked(a)) if a.size else a,
    "zarr": lambda a: zarr.array(a, chunks=chunked(a)) if a.size else a,
    "list": lambda a: a.tolist() if a.dtype == "f8" and a.size else a,
}


def region(rng, shape):
    """Return a bool mask: a random one, a box, everything or nothing."""
    mask = np.zeros(shape, bool)
    mask[tuple(slice(n // 4, n - n // 4) for n in shape)] = True
    kinds = [rng.random(shape) < 0.7, mask, np.ones(shape, bool), np.zeros(shape, bool)]
    return kinds[rng.choice(4, p=[0.5, 0.3, 0.1, 0.1])]


def segments(rng, shape):
    kind = rng.choice(["i4", "u1", "u8", "i2", "i8"])
    return (np.indices(shape).sum(0) // 3 % 4).astype(kind)


def other_image(rng, shape):
    """Return a guide: a picture, noise, one value or large values, of several data types."""
    kind = rng.choice(["picture", "picture", "noise", "one value", "two values", "huge"])
    dtype = np.dtype(str(rng.choice(["f8", "f4", "u1", "u2", "i2"])))
    return limited(np.asarray(CONTENTS[kind](rng, shape)), dtype)


#: Options that are arrays over the axes of space, which turn with the image; at most one of those
#: that are regions is drawn.
REGIONS = {"mask": region, "labels": segments}
ARRAYS = REGIONS | {"guide": other_image}
#: Values of options that their declaration does not give.
VALUES = {
    "threads": [None, 1, 2, 7],
    "tolerance": [1e-3] * 4 + [1e-1, 1e-2, 1e-5],
    "scheme": ["auto"] * 3 + nd.schemes.names()[1:],
}
#: Options that are drawn on their own, or that say nothing about the result.
OWN = {"time", "spacing", "axes", "channel_axis", "channel_weights"}
OWN |= {"backend", "device", "progress", "cancel", "image", "model"}


#: Declared options of a run whose values are drawn.
OPTIONS = [option for option in (*run_options(), *run_options(Execution)) if option.name not in OWN]


def values_of(option):
    """Return the values to draw for a declared option of a run, the default most often."""
    if option.name in VALUES:
        return VALUES[option.name]
    if option.choices or option.type is bool:
        rest = [value for value in option.choices or (False, True) if value != option.default]
        return [option.default] * 4 + rest
    numbers = [number for number in [0.1, 0.5, 1.0, 2.0, *EXTREMES] if is_valid(option, number)]
    return [option.default] * (4 * len(numbers)) + 2 * numbers + EXTREMES[-1:]


def is_valid(option, number):
    try:
        option.check("", number)
    except ValueError:
        return False
    return True


def drawn_model(rng, intensity, length, axes):
    """Return a model of any kind: ordinary parameters, scattered ones, and extreme ones."""
    kinds = models.REGISTRY.all()
    kind = kinds[rng.integers(len(kinds))]
    scatter = rng.choice([0.0, 0.5], p=[0.4, 0.6])
    is_extreme = rng.random() < 0.15
    values: dict[str, Any] = {}
    for p in parameters(kind):
        if p.is_map:
            if rng.random() < 0.15:
                nodes = rng.integers(1, 4, axes)
                values[p.name] = (10 ** rng.normal(0, 0.4, nodes)).tolist()
            continue
        if p.choices is not None:
            values[p.name] = p.choices[rng.integers(len(p.choices))]
        elif p.type is bool:
            values[p.name] = bool(rng.random() < 0.5)
        elif p.type is float and isinstance(p.default, float):
            scale = intensity**p.dimension.intensity * length**p.dimension.length
            value = p.default * scale * 10 ** (scatter * rng.normal())
            if is_extreme and rng.random() < 0.5:
                value = float(rng.choice([0.0, *EXTREMES]))
            low = max([bound for bound in (p.gt, p.ge) if bound is not None], default=-math.inf)
            value = max(value, low) if p.gt is None else max(value, low + 1e-300)
            values[p.name] = value if p.le is None else min(value, p.le)
    return kind(**values)


@dataclasses.dataclass(frozen=True)
class Case:
    """A case of the fuzzer.

    Attributes
    ----------
    seed
        What all else follows from.
    array
        The values, native and contiguous.
    content, layout
        Names of the kind of values, and of how they are passed.
    model, time, spacing, axes, channel_axis
        As in `nd.diffuse`; ``axes`` ascend.
    options, arrays
        Other options, and those that are arrays over the axes of space.
    """

    seed: int
    array: Any
    content: str
    layout: str
    model: Any
    time: float
    spacing: tuple[float, ...]
    axes: tuple[int, ...]
    channel_axis: int | None
    options: dict[str, Any]
    arrays: dict[str, Any]

    def image(self):
        """Return the image in its layout."""
        return LAYOUTS[self.layout](self.array)

    def keywords(self, **changes):
        """Return the keyword arguments of `nd.diffuse`."""
        own = {name: getattr(self, name) for name in ("time", "spacing", "axes", "channel_axis")}
        return own | self.options | self.arrays | changes

    def run(self, function=nd.diffuse, image=None, **changes):
        """Filter the values, or another image."""
        image = self.array if image is None else image
        return function(image, self.model, **self.keywords(**changes))

    def turned(self, order, flips):
        """Return the case with its axes in another order, and some of those of space reversed."""
        places = [order.index(axis) for axis in self.axes]
        ascending = sorted(range(len(places)), key=places.__getitem__)
        space = [axis for axis in order if axis in self.axes]
        # An array without frames has the axes of space alone.
        alone = tuple(self.axes.index(axis) for axis in space)
        arrays = {}
        for name, values in self.arrays.items():
            if values.ndim == len(self.axes):
                turned = values.transpose(alone)
                reversed_axes = [i for i, axis in enumerate(space) if axis in flips]
            else:
                kept = [axis for axis in range(self.array.ndim) if axis != self.channel_axis]
                others = [axis for axis in order if axis != self.channel_axis]
                turned = values.transpose([kept.index(axis) for axis in others])
                reversed_axes = [i for i, axis in enumerate(others) if axis in flips]
            arrays[name] = np.flip(turned, reversed_axes)
        turned_maps = {
            p.name: np.flip(
                np.transpose(getattr(self.model, p.name), alone),
                [i for i, axis in enumerate(space) if axis in flips],
            )
            for p in parameters(self.model)
            if p.is_map and getattr(self.model, p.name) is not None
        }
        return dataclasses.replace(
            self,
            model=dataclasses.replace(self.model, **turned_maps),
            array=np.flip(self.array.transpose(order), [order.index(axis) for axis in flips]),
            axes=tuple(places[i] for i in ascending),
            spacing=tuple(self.spacing[i] for i in ascending),
            channel_axis=None if self.channel_axis is None else order.index(self.channel_axis),
            arrays=arrays,
        )

    def __str__(self):
        shape = " x ".join(map(str, self.array.shape))
        own = ("spacing", "axes", "channel_axis")
        words = {name: getattr(self, name) for name in own} | self.options
        words |= {name: f"{values.dtype} {values.shape}" for name, values in self.arrays.items()}
        rest = ", ".join(f"{name}={value!r}" for name, value in words.items())
        kind = f"{self.array.dtype} {shape} ({self.layout})"
        return f"seed {self.seed}: {kind}, {self.model}, time={self.time!r}, {rest}"


def draw(seed):
    """Return the case of a seed."""
    rng = np.random.default_rng(seed)
    count = int(rng.choice([1, 2, 3, 4], p=[0.1, 0.4, 0.45, 0.05]))
    sizes = [int(n) for n in rng.choice(SIZES, count)]
    # Beyond three axes, the NumPy kernels do the work.
    while math.prod(sizes) > (MOST_VOXELS if count < 4 else MOST_VOXELS / 16):
        sizes[int(np.argmax(sizes))] //= 2
    if rng.random() < 0.02:
        sizes[0] = 0
    shape, axes, channel = list(sizes), list(range(count)), None
    if rng.random() < 0.25:  # frames
        place = int(rng.integers(count + 1))
        shape.insert(place, int(rng.choice([1, 2, 3])))
        axes = [axis + (axis >= place) for axis in axes]
    if rng.random() < 0.25:  # channels
        channel = int(rng.integers(len(shape) + 1))
        shape.insert(channel, int(rng.choice([1, 2, 3, 4])))
        axes = [axis + (axis >= channel) for axis in axes]
    dtype = np.dtype(DTYPES[rng.integers(len(DTYPES))])
    names = list(CONTENTS)
    content = names[rng.choice(len(names), p=np.divide(SHARES, sum(SHARES)))]
    array = limited(np.asarray(CONTENTS[content](rng, tuple(shape))), dtype)
    exponent = rng.choice([0, 0, 0.3, 0.3, 3])
    spacing = tuple(float(h) for h in 10 ** (exponent * rng.normal(size=count)))
    options = {
        option.name: values[rng.integers(len(values))]
        for option in OPTIONS
        for values in [values_of(option)]
    }
    if dtype.kind == "f" and array.size and rng.random() < 0.1:
        array[tuple(n // 2 for n in array.shape)] = rng.choice([np.nan, np.inf, -np.inf])
        options["nan"] = str(rng.choice(["mask", "mask", "raise"]))
    if channel is not None and rng.random() < 0.3:
        weights = [float(w) for w in rng.choice([0.5, 1, 1, 3], shape[channel])]
        if len(weights) == 4:
            weights[-1] = None
        options["channel_weights"] = weights
    names = [list(REGIONS)[rng.integers(len(REGIONS))]] * (rng.random() < 0.2)
    names += ["guide"] * (rng.random() < 0.2)
    with_frames = [n for axis, n in enumerate(shape) if axis != channel]
    arrays = {
        name: ARRAYS[name](rng, tuple(sizes if rng.random() < 0.7 else with_frames))
        for name in names
    }
    finite = np.nan_to_num(array.astype(float), posinf=0, neginf=0)
    span = float(np.ptp(finite)) if array.size else 0.0
    intensity = (span or 100.0) / 100
    if options["transform"] != "none" and rng.random() < 0.8:  # numbers of a camera
        gain = intensity * float(10 ** rng.uniform(-2, 0.5))
        low = float(finite.min()) if array.size else 0.0
        options |= {"gain": gain, "offset": low - gain * float(rng.uniform(-3, 3))}
        options |= {"read_noise": gain * float(rng.choice([0.0, 0.5, 3.0]))}
        intensity = 0.2  # thresholds are in units of the noise
    model = drawn_model(rng, intensity, min(spacing), count)
    time = float(10 ** rng.uniform(-2, 1.5)) * min(spacing) ** 2
    if rng.random() < 0.08:
        time = float(rng.choice([0.0, *EXTREMES]))
    if options.get("fidelity_length") and rng.random() < 0.3:
        time = None  # to the steady state
    layouts = list(LAYOUTS)
    layout = layouts[rng.integers(len(layouts))]
    options_of_run = (model, time, spacing, tuple(axes), channel, options, arrays)
    case = Case(seed, array, content, layout, *options_of_run)
    return shortened(case)


def shortened(case):
    """Return the case with a time of at most `MOST_STAGES` stages.

    A scheme that does not fit the model is usually replaced; other refused runs are kept.
    """
    limit = MOST_STAGES if len(case.axes) < 4 else MOST_STAGES // 10
    for _ in range(4):
        try:
            plan = case.run(nd.plan)
            steps = plan.steps
            if hasattr(plan.operator, "radius"):
                voxels = math.prod(2 * reach + 1 for reach in plan.feature_reach)
                limit = max(2, min(limit, MOST_VISITS // voxels))
        except ValueError:
            if case.options["scheme"] == "auto" or case.seed % 8 == 0:
                return case
            case = dataclasses.replace(case, options=case.options | {"scheme": "auto"})
            continue
        except Exception:  # it belongs to the run
            return case
        if steps <= limit or case.time is None:
            return case
        case = dataclasses.replace(case, time=case.time * limit / steps / 2)
    return case
