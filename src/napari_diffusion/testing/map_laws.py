"""Laws of maps of thresholds, for every model that declares one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from napari_diffusion.api.filters import diffuse, plan
from napari_diffusion.core.arrays import Array
from napari_diffusion.core.units import Dimension
from napari_diffusion.models import Model, parameters
from napari_diffusion.testing.cases import Case, close, same


def with_maps(model: Model, change: Callable[[Any], Any]) -> Model:
    """Return the model with its maps changed as an array."""
    changed = {name: change(np.array(values)) for name, values in model.maps.items()}
    return dataclasses.replace(model, **changed) if changed else model


def equal_factors_scale_the_thresholds(model: Model, case: Case) -> None:
    """A map of ones changes no bit; a map of equal factors acts as thresholds times the factor."""
    if not _mappable(model):
        return
    image, shape = case.picture(), (2, 3, 1)[: len(case.shape)]
    plain = dataclasses.replace(model, **dict.fromkeys(_map_names(model)))
    same(case.run(_mapped(model, np.ones(shape)), image), case.run(plain, image))
    for factor in (4.0, 0.3):
        mapped = _mapped(model, np.full(shape, factor))
        thresholds = {name: getattr(model, name) * factor for name in _thresholds(model)}
        close(
            model,
            case.run(mapped, image),
            case.run(dataclasses.replace(plain, **thresholds), image),
            case.rounding,
        )


def map_follows_the_noise(model: Model, case: Case) -> None:
    """Where the image is four times larger and the map is 4, the result is exactly four times.

    A scene is repeated, and then again with four times its contrast. The map rises from 1 to 4
    between them.
    """
    if not _mappable(model):
        return
    nodes = np.ones((*(1,) * (len(case.shape) - 1), 4))
    nodes[..., 2:] = 4
    mapped, step = _mapped(model, nodes), case.max_step(model)
    options: dict[str, Any] = {"time": 2 * step, "spacing": case.spacing, "scheme": "explicit"}
    long = np.broadcast_to(case.picture()[..., :1], (*case.shape[:-1], 10_000))
    halo, n = plan(long, mapped, **options).halo[-1], case.shape[-1]
    repeats = 4 * (halo // n + 1)
    scene = np.concatenate([case.picture()] * repeats, -1)
    result = diffuse(np.concatenate([scene, 4 * scene], -1), mapped, **options)
    low, high = result[..., : repeats * n], result[..., repeats * n :]
    # The map is constant, as far as the result reaches, in the middle half of both scenes.
    middle = (..., slice(repeats * n // 4 + halo + 1, 3 * repeats * n // 4 - halo - 1))
    assert low[middle].size, "nothing is compared"
    same(high[middle], 4 * low[middle])


def _map_names(model: Model) -> list[str]:
    """Return the names of the parameters that are maps of thresholds."""
    return [p.name for p in parameters(model) if p.is_map]


def _thresholds(model: Model) -> list[str]:
    """Return the names of the parameters that are gradients."""
    gradient = Dimension(length=-1, intensity=1)
    return [p.name for p in parameters(model) if p.dimension == gradient]


def _mappable(model: Model) -> bool:
    """Whether maps scale every parameter that is an intensity."""
    intensities = [p.name for p in parameters(model) if p.dimension.intensity]
    return bool(_map_names(model)) and intensities == _thresholds(model)


def _mapped(model: Model, nodes: Array) -> Model:
    """Return the model with these factors as its maps."""
    return dataclasses.replace(model, **dict.fromkeys(_map_names(model), nodes))
