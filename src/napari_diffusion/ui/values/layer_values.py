"""Values that belong to a layer: those that the user has set, the strength, the suggestion.

The memory outlives the widgets and is weak on layers. A widget that is opened again shows the
values that were set for a layer. A removed layer takes its values along.
"""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from napari_diffusion.core.parameters import rescaled
from napari_diffusion.core.units import Dimension
from napari_diffusion.models import Model, parameters
from napari_diffusion.ui.layers.axes import length_conversion

if TYPE_CHECKING:
    from napari_diffusion.estimation.report.strength import Amount, StrengthScale
    from napari_diffusion.estimation.suggestion import Suggestion

#: Key of the diffusion time among the values of a model.
TIME = "time"


@dataclass(frozen=True)
class Measured:
    """A suggestion and what it was made for.

    Attributes
    ----------
    suggestion
        The suggestion at the recommended strength.
    basis
        What the suggestion depends on besides the array: axes, voxel size, unit, fixed parameters.
    image
        Weak reference to the data of the layer.
    thorough
        Whether the whole image was measured.
    """

    suggestion: Suggestion
    basis: tuple[Any, ...]
    image: Callable[[], Any]
    thorough: bool

    def holds_for(self, image: Any, basis: tuple[Any, ...]) -> bool:
        """Whether the suggestion is for these data of a layer, and for this basis."""
        return self.image() is image and self.basis == basis


@dataclass
class ModelValues:
    """Values of one model for one layer.

    Attributes
    ----------
    own
        Values that the user has set, by the names of the parameters and `TIME`.
    strength
        Strength of the suggestion, from -1 to 1.
    measured
        The last suggestion, or ``None``.
    """

    own: dict[str, Any] = field(default_factory=dict)
    strength: float = 0.0
    measured: Measured | None = None


class LayerValues:
    """Values of one widget for one layer.

    Attributes
    ----------
    unit
        Symbol of the unit of length of all values.
    model
        The chosen model, or ``None`` before a choice.
    automatic
        Whether the suggestion chooses the model.
    axes, sizes
        Axes that the user has checked, and voxel sizes that the user has set, by the number of the
        axis; ``None`` and empty where those of the layer are used.
    """

    def __init__(self, unit: str) -> None:
        self.unit = unit
        self.model: type[Model] | None = None
        self.automatic = False
        self.axes: tuple[int, ...] | None = None
        self.sizes: dict[int, float] = {}
        self._models: dict[type[Model], ModelValues] = {}

    def of(self, model: type[Model]) -> ModelValues:
        """Return the values of a model, which may be changed."""
        return self._models.setdefault(model, ModelValues())

    def adopt(self, other: LayerValues) -> None:
        """Take over what the user has set before there was a layer, unless this layer is known."""
        if self._models:
            return
        for model, values in other._models.items():
            self.of(model).own = dict(values.own)

    def convert(self, unit: str, factor: float) -> None:
        """Convert all values to another unit; ``factor`` converts a length to it."""
        self.unit = unit
        if factor == 1.0:
            return
        self.sizes = {axis: size * factor for axis, size in self.sizes.items()}
        for model, values in self._models.items():
            values.own = {
                name: value * dimension_of(model, name).factor(factor)
                if isinstance(value, float)
                else value
                for name, value in values.own.items()
            }
            if values.measured is not None:
                suggestion = in_unit(values.measured.suggestion, unit, factor)
                values.measured = dataclasses.replace(values.measured, suggestion=suggestion)


def dimension_of(model: type[Model], name: str) -> Dimension:
    """Return the dimension of a parameter of a model, or of `TIME`."""
    if name == TIME:
        return Dimension(length=2)
    return next(p.dimension for p in parameters(model) if p.name == name)


def composed(suggestion: Suggestion, values: ModelValues) -> tuple[Model, float]:
    """Return model and time: what the user has set, and the suggestion elsewhere.

    Parameters
    ----------
    suggestion
        The suggestion, of the model of ``values``.
    values
        Values of the user, and the strength.
    """
    own = {name: value for name, value in values.own.items() if name != TIME}
    time = values.own.get(TIME)
    if time is None:
        time = with_strength(suggestion, values.strength).time
    return dataclasses.replace(suggestion.model, **own), time


def with_strength(suggestion: Suggestion, strength: float) -> Suggestion:
    """Return a suggestion at a strength; where the amount is fixed, the suggestion itself."""
    return suggestion if suggestion.scale is None else suggestion.with_strength(strength)


def in_unit(suggestion: Suggestion, unit: str, factor: float) -> Suggestion:
    """Return a recommended suggestion in another unit; ``factor`` converts a length to it.

    The reasons keep the numbers of the unit that they name.
    """
    area = factor**2

    def amount(one: Amount) -> Amount:
        return one._replace(time=one.time * area)

    def converted(scale: StrengthScale) -> StrengthScale:
        return dataclasses.replace(
            scale,
            recommended=amount(scale.recommended),
            gentle=scale.gentle * area,
            strong=scale.strong * area,
            curve=tuple(map(amount, scale.curve)),
            unit=unit,
        )

    scale = None if suggestion.scale is None else converted(suggestion.scale)
    effect = suggestion.effect if scale is None else scale.effect(scale.recommended)
    model = rescaled(suggestion.model, factor)
    time = suggestion.time * area
    return dataclasses.replace(suggestion, model=model, time=time, scale=scale, effect=effect)


def weak_reference(array: Any) -> Callable[[], Any]:
    """Return a weak reference to an array.

    The `id` of an array would not do: a later array may get the same one.
    """
    try:
        return weakref.ref(array)
    except TypeError:  # ``None``, and array types without weak references
        return lambda: array


class LayerMemory:
    """The values of layers, by layer and kind of widget; a removed layer is forgotten."""

    def __init__(self) -> None:
        self._layers: WeakKeyDictionary[Any, dict[bool, LayerValues]] = WeakKeyDictionary()

    def of(self, layer: Any, isotropic: bool, unit: str) -> LayerValues:
        """Return the values of a layer in a unit; those of a new layer are empty.

        Parameters
        ----------
        layer
            The image layer.
        isotropic
            Which of the two widgets.
        unit
            Symbol of the unit in which the values are returned. From and to pixel, the numbers
            stay the same.
        """
        kinds = self._layers.setdefault(layer, {})
        values = kinds.setdefault(isotropic, LayerValues(unit))
        if values.unit != unit:
            values.convert(unit, length_conversion(values.unit, unit))
        return values


#: The memory of all widgets.
memory = LayerMemory()
