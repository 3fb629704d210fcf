"""The table of axes: a row for each with a check box, whether to smooth along it, and its voxel size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from magicgui.widgets import CheckBox, Container, PushButton

from napari_diffusion.engine.recipe import Recipe
from napari_diffusion.ui.layers.axes import (
    Axis,
    axes_of_recipe,
    common_unit,
    diffusing_by_default,
    length_conversion,
    names_of,
    size_in,
)
from napari_diffusion.ui.qt.quantity_box import QuantityBox


class AxisRow(Container):  # type: ignore[type-arg]
    """One axis: ``[x] z 24   2.2 mm``."""

    def __init__(self) -> None:
        self.smooth = CheckBox(
            tooltip="Smooth along this axis. Along an unchecked axis, such as time, every frame is filtered on its own."
        )
        self.size = QuantityBox(
            1.0,
            tooltip="Voxel size along this axis, as the layer says; change it where the layer is wrong.",
            arrows=False,
        )
        super().__init__(widgets=[self.smooth, self.size], layout="horizontal", labels=False)
        self.margins = (0, 0, 0, 0)
        self.native.layout().setStretch(0, 1)
        self.native.layout().setStretch(1, 1)
        self.smooth.changed.connect(self._show)

    def _show(self) -> None:
        self.size.visible = bool(self.smooth.value)


class AxesTable(Container):  # type: ignore[type-arg]
    """All axes of the chosen layer; emits ``changed`` when the user changes one."""

    def __init__(self) -> None:
        self.rows: list[AxisRow] = []
        self._axes: tuple[Axis, ...] = ()
        self._of_layer: tuple[float, ...] = ()
        self._unit = ""
        self._filling = False
        self.reset = PushButton(
            text="Use the layer's voxel size",
            visible=False,
            tooltip="Undo the changes of the voxel size.",
        )
        self.take = PushButton(
            text="Use the axes of the file",
            visible=False,
            tooltip="What the file says and the layer does not.",
        )
        tip = "Axes to smooth along, number of voxels, and voxel size."
        super().__init__(
            widgets=[self.reset, self.take], labels=False, label="Smooth along", tooltip=tip
        )
        self.margins = (0, 0, 0, 0)
        self.native.layout().setSpacing(2)
        self.reset.changed.connect(self._reset)

    @property
    def axes(self) -> tuple[int, ...]:
        """The checked axes."""
        return tuple(axis.index for axis, row in self._live() if row.smooth.value)

    @property
    def names(self) -> tuple[str, ...] | None:
        """Names of the checked axes, or ``None`` where one has none."""
        return names_of([axis for axis, row in self._live() if row.smooth.value])

    def check(self, recipe: Recipe) -> bool:
        """Check the axes that a recipe means and no other; false where that cannot be told, and all stays as it is."""
        meant = axes_of_recipe(recipe, self._axes)
        for axis, row in self._live() if meant is not None else ():
            row.smooth.value = axis.index in (meant or ())
        return meant is not None or recipe.axes in (None, self.axes)

    @property
    def spacing(self) -> tuple[float, ...]:
        """Voxel size along the checked axes."""
        return tuple(row.size.value for _, row in self._live() if row.smooth.value)

    @property
    def unit(self) -> str:
        """Unit of the voxel size."""
        return self._unit

    def show_layer(self, axes: Sequence[Axis], corrected: bool = False) -> str:
        """Show the axes of a layer, those that are space checked, and return the unit of its voxel size.

        Of a layer that is shown already and was ``corrected``, what the user has set stays: checks, sizes, and the unit while the layer's
        own is the same.
        """
        before, default = self._axes, diffusing_by_default(axes)
        kept = corrected and len(axes) == len(before)
        chosen = self.axes if kept and self.axes != diffusing_by_default(before) else default
        same_unit = kept and [axis.unit for axis in axes] == [axis.unit for axis in before]
        unit = self._unit if same_unit else common_unit([axes[i] for i in chosen or default])
        factor = (length_conversion(self._unit, unit) or 1.0) if kept else 1.0
        set_by_user = {i: row.size.value * factor for i, row in self._set_sizes()} if kept else {}
        self._axes = tuple(axes)
        with self._quietly():
            while len(self.rows) < len(axes):
                row = AxisRow()
                row.size.changed.connect(self._edited)
                self.rows.append(row)
                self.insert(len(self.rows) - 1, row)
            for i, row in enumerate(self.rows):
                row.visible = i < len(axes)
            for axis, row in self._live():
                row.smooth.text = f"{axis.name}  {axis.size}"
                row.smooth.value = axis.index in chosen
                row.size.visible = axis.index in chosen
                row.size.value = size_in(axis, unit)
            self._of_layer = tuple(row.size.value for row in self.rows)
            for i, size in set_by_user.items():
                self.rows[i].size.value = size
        self._set_unit(unit)
        self._edited()
        return unit

    def set_unit(self, unit: str, factor: float = 1.0) -> None:
        """Show voxel sizes in another unit, converted by ``factor``."""
        self._of_layer = tuple(size * factor for size in self._of_layer)
        with self._quietly():
            for row in self.rows:
                row.size.value = row.size.value * factor
        self._set_unit(unit)

    def _set_unit(self, unit: str) -> None:
        self._unit = unit
        for row in self.rows:
            row.size.unit = unit

    def _live(self) -> Iterator[tuple[Axis, AxisRow]]:
        return zip(self._axes, self.rows, strict=False)

    def _set_sizes(self) -> list[tuple[int, AxisRow]]:
        """Rows whose size the user has set, with their numbers."""
        entries = enumerate(zip(self._live(), self._of_layer, strict=False))
        return [(i, row) for i, ((_, row), of_layer) in entries if row.size.value != of_layer]

    def _edited(self) -> None:
        if not self._filling:
            self.reset.visible = bool(self._set_sizes())

    def _reset(self) -> None:
        for row, size in zip(self.rows, self._of_layer, strict=True):
            row.size.value = size

    @contextmanager
    def _quietly(self) -> Iterator[None]:
        self._filling = True
        try:
            with self.changed.blocked():
                yield
        finally:
            self._filling = False
