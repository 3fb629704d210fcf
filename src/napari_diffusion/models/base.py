"""Base class of the diffusion models.

A model declares its parameters and has one method, which builds a diffusion operator from local
features.
"""

from __future__ import annotations

from dataclasses import Field, dataclass, fields
from functools import cache
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.core.parameters import Parameter, check_parameters, param, parameters
from napari_diffusion.operators.base import Operator
from napari_diffusion.operators.features import Features
from napari_diffusion.operators.threshold_map import ThresholdMap, map_checker

__all__ = ["Model", "Parameter", "ThresholdMap", "param", "parameters", "threshold_map"]


def threshold_map(threshold: str) -> Any:
    """Declare a map of factors of a threshold, by which it differs from place to place.

    `operators.threshold_map` says where the factors lie. A model passes the map to its
    `Diffusivity`, or to `Features.relative`.

    Parameters
    ----------
    threshold
        Name of the parameter that is the threshold. The map is called ``kappa_map`` for ``kappa``.
    """
    return param(
        None,
        f"Map of the threshold: factors of {threshold} on a coarse grid over the image.",
        convert=map_checker(f"{threshold}_map"),
        hidden=True,
        is_map=True,
    )


def check_declaration(kind: type[Model]) -> None:
    """Check that a class declares all that menus, recipes and widgets read of a model.

    Raises
    ------
    TypeError
        If a text is missing, the class is no frozen dataclass, or a field is not declared by
        `param`.
    """
    for text in ("name", "title", "summary"):
        if not isinstance(getattr(kind, text, None), str):
            raise TypeError(f"{kind.__name__} needs the class attribute {text!r}, a text")
    # The decorator replaces the declarations by their defaults, and checks the base class.
    if any(isinstance(value, Field) for value in vars(kind).values()):
        raise TypeError(f"{kind.__name__} needs the line @dataclass(frozen=True, kw_only=True)")
    declared = {parameter.name for parameter in parameters(kind)}
    for own in fields(kind):
        if own.name not in declared:
            raise TypeError(f"{kind.__name__}: the field {own.name!r} is not declared by param()")
    if kind.operator is Model.operator:
        raise TypeError(f"{kind.__name__} has no method 'operator'")


@cache
def _names_of_maps(kind: Any) -> tuple[str, ...]:
    return tuple(parameter.name for parameter in parameters(kind) if parameter.is_map)


@dataclass(frozen=True, kw_only=True)
class Model:
    """Base class of the diffusion models: frozen dataclasses with fields declared by `param`.

    A subclass sets ``name``, ``title`` and ``summary`` and implements `operator`. It uses local
    features only: no global statistics and no state. The result therefore does not depend on
    slabs, threads, frames or the part that is previewed. The laws of `napari_diffusion.testing`
    check the declared properties.

    Attributes
    ----------
    name
        Name on the command line and in recipes.
    title
        Name in menus.
    summary
        One sentence for menus.
    isotropic
        Whether the model smooths equally in all directions; selects its widget.
    conservative
        Whether the model keeps the mean of the image, as all models in divergence form do.
    keeps_extrema
        Whether the model has an extremum principle: with small steps, no value leaves the range of
        the input. Runs with ``strict`` refuse a model without one.
    offset_invariant
        Whether a constant added to the image is added to the result.
    for_thin_structure
        Whether the model is for lines and sheets that fill little of the image. If it is named,
        `suggest` only chooses among settings that keep the contrast of these.
    is_for_magnitudes
        Whether the model is for images without values below 0; others are refused.
    removes_bias
        Whether the result is the amplitude of a magnitude image, without the bias of its noise;
        `suggest` then compares it with the amplitude, and not with the mean of the image.
    rounding_gain
        Factor by which the model amplifies rounding errors, relative to other models; large for
        near-discontinuous diffusivities.
    truncation_gain
        Factor by which the model amplifies the error of the truncated surroundings of a preview,
        relative to other models; large for near-discontinuous diffusivities.
    references
        Keys of `workflows/references.bib`, or BibTeX entries, of the sources of the equation.
    has_transform
        Whether the model diffuses transformed intensities; it then overrides `encode` and `decode`.
    with_max_diffusivity
        Method that returns an approximation of the model with bounded diffusivity, for drafts.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    summary: ClassVar[str]
    isotropic: ClassVar[bool] = False
    conservative: ClassVar[bool] = True
    keeps_extrema: ClassVar[bool] = True
    offset_invariant: ClassVar[bool] = True
    for_thin_structure: ClassVar[bool] = False
    is_for_magnitudes: ClassVar[bool] = False
    removes_bias: ClassVar[bool] = False
    rounding_gain: ClassVar[float] = 1.0
    truncation_gain: ClassVar[float] = 1.0
    references: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        """Check every field against its declaration."""
        check_parameters(self, type(self).__name__)

    def encode(self, u: NDArray[np.floating]) -> None:
        """Transform the intensities ``u`` in place, before the first step."""

    def decode(self, u: NDArray[np.floating]) -> None:
        """Transform ``u`` back to intensities in place, after the last step.

        A run of time 0 returns the image unchanged, without both transforms.
        """

    def cited_references(self) -> tuple[str, ...]:
        """Return the references to cite for these parameters."""
        return self.references

    @property
    def maps(self) -> dict[str, ThresholdMap]:
        """The maps of thresholds that are set, by the names of their parameters."""
        kind: Any = type(self)
        values = {name: getattr(self, name) for name in _names_of_maps(kind)}
        return {name: value for name, value in values.items() if value is not None}

    @property
    def has_transform(self) -> bool:
        """Whether the model diffuses transformed intensities."""
        return type(self).encode is not Model.encode

    def with_max_diffusivity(self, limit: float) -> Self:
        """Return an approximation of this model with diffusivities of at most ``limit``.

        It is used for drafts. Models without such an approximation return themselves.
        """
        return self

    def operator(self, f: Features) -> Operator:
        """Return the diffusion operator for the features ``f`` of the current field."""
        raise NotImplementedError
