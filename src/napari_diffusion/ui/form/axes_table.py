"""The axes of a layer in words, and a table that unfolds: one row each, to check and to measure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from magicgui.widgets import CheckBox, Container, PushButton
from psygnal import Signal
from qtpy.QtCore import Qt

from napari_diffusion.engine.recipe import Recipe
from napari_diffusion.ui.layers.axes import (
    Axis,
    axes_of_recipe,
    common_unit,
    describe,
    diffusing_by_default,
    length_conversion,
    names_of,
    size_in,
)
from napari_diffusion.ui.layers.file_metadata import FileWords
from napari_diffusion.ui.qt.layout import NO_MARGINS, bare_container, wrapping_label
from napari_diffusion.ui.qt.quantity_box import QuantityBox
from napari_diffusion.ui.qt.slots import slot

#: Tooltip of the words.
_TIP = "What is filtered together, and what was assumed about the axes."


class AxisRow(Container):  # type: ignore[type-arg]
    """Row of one axis: ``[x] z 24   2.2 mm``; an axis that is not smoothed shows no voxel size."""

    def __init__(self) -> None:
        self.smooth = CheckBox(
            tooltip="Smooth along this axis. Along an unchecked axis, such as time, every frame is "
            "filtered on its own."
        )
        self.size = QuantityBox(
            1.0,
            tooltip="Voxel size along this axis, as the layer says; change it where the layer is "
            "wrong.",
            arrows=False,
        )
        super().__init__(widgets=[self.smooth, self.size], layout="horizontal", labels=False)
        self.margins = NO_MARGINS
        self.native.layout().setStretch(0, 1)
        self.native.layout().setStretch(1, 1)
        self.smooth.changed.connect(self._show_size)

    @slot
    def _show_size(self) -> None:
        self.size.visible = bool(self.smooth.value)


class AxesTable(Container):  # type: ignore[type-arg]
    """All axes of the chosen layer; emits ``changed`` when the user changes one.

    Attributes
    ----------
    words, change
        What is smoothed, and what was assumed, in words; the button that unfolds the table.
    body
        The table, folded at first.
    rows
        One row per axis; rows beyond the axes of the layer are hidden.
    reset, use_file_axes
        Buttons to restore the voxel size of the layer, and to use the axes of its file.
    """

    #: The table was unfolded (true) or folded (false).
    toggled = Signal(bool)

    def __init__(self) -> None:
        self.rows: list[AxisRow] = []
        self._open = False
        self._axes: tuple[Axis, ...] = ()
        self._layer_sizes: tuple[float, ...] = ()
        self._unit, self._colours = "", 0
        self._file = FileWords()
        self._filling = False
        self.reset = PushButton(
            text="Use the layer's voxel size",
            visible=False,
            tooltip="Undo the changes of the voxel size.",
        )
        self.use_file_axes = PushButton(
            text="Use the axes of the file",
            visible=False,
            tooltip="What the file says and the layer does not.",
        )
        self.words = wrapping_label()
        self.words.tooltip = _TIP
        tip = "Axes to smooth along, number of voxels, and voxel size."
        self.change = PushButton(text="Change", tooltip=f"Show or hide the table. {tip}")
        line = bare_container(self.words, layout="horizontal", labels=False)
        # Outside every container: the fold is no change of the axes.
        line.native.layout().addWidget(self.change.native, 0, Qt.AlignmentFlag.AlignTop)
        line.native.layout().setStretch(0, 1)
        self.body: Container[Any] = Container(widgets=[self.reset], labels=False, visible=False)
        self.body.margins = (8, 0, 0, 0)
        self.body.native.layout().setSpacing(2)
        super().__init__(widgets=[line, self.body, self.use_file_axes], labels=False, tooltip=tip)
        self.margins = NO_MARGINS
        self.native.layout().setSpacing(2)
        self.reset.changed.connect(self._reset_sizes)
        self.change.changed.connect(self._toggle)

    @property
    def open(self) -> bool:
        """Whether the table is unfolded."""
        return self._open

    @slot
    def _toggle(self) -> None:
        self._open = not self._open
        self.body.visible = self._open
        self.change.text = "Close" if self._open else "Change"
        self.toggled.emit(self._open)

    @property
    def axes(self) -> tuple[int, ...]:
        """The checked axes."""
        return tuple(axis.index for axis, row in self._axes_and_rows() if row.smooth.value)

    @property
    def names(self) -> tuple[str, ...] | None:
        """Names of the checked axes; ``None`` if one of them has no name."""
        return names_of([axis for axis, row in self._axes_and_rows() if row.smooth.value])

    @property
    def spacing(self) -> tuple[float, ...]:
        """Voxel size along the checked axes [unit]."""
        return tuple(row.size.value for _, row in self._axes_and_rows() if row.smooth.value)

    @property
    def unit(self) -> str:
        """Unit of the voxel size."""
        return self._unit

    def check_axes_of(self, recipe: Recipe) -> bool:
        """Check exactly the axes of a recipe.

        Returns
        -------
        bool
            False if the axes of the recipe cannot be identified in the layer. The checked axes
            stay the same then.
        """
        identified = axes_of_recipe(recipe, self._axes)
        if identified is None:
            return recipe.axes in (None, self.axes)
        for axis, row in self._axes_and_rows():
            row.smooth.value = axis.index in identified
        return True

    def changes(self) -> tuple[tuple[int, ...] | None, dict[int, float]]:
        """Return what the user has changed: checked axes, or ``None``; voxel sizes by the row."""
        axes = None if self.axes == diffusing_by_default(self._axes) else self.axes
        return axes, {number: row.size.value for number, row in self._edited_rows()}

    def apply(self, axes: tuple[int, ...] | None, sizes: dict[int, float]) -> None:
        """Show changes of the user, as `changes` has returned them; others stay."""
        with self._quietly():
            for axis, row in self._axes_and_rows():
                if axes is not None:
                    row.smooth.value = axis.index in axes
                row.size.value = sizes.get(axis.index, row.size.value)
        self._size_changed()

    def describe(self) -> None:
        """Show in words what is smoothed, and what was assumed about the axes."""
        sizes = " × ".join(f"{size:.3g}" for size in self.spacing)
        sizes += f"\N{NO-BREAK SPACE}{self._unit}"
        words = describe(self._axes, self.axes, self._colours, sizes)
        if words and self._file.brief:
            words += f"\nThe file says: {self._file.brief}"
        self.words.value = words

    def show_file(self, words: FileWords) -> None:
        """Show what the file of the layer says, in brief; the tooltip has all of it."""
        self._file = words
        self.words.tooltip = f"{_TIP}\n\n{words.full}" if words.full else _TIP
        self.describe()

    def show_layer(self, axes: Sequence[Axis], corrected: bool = False, colours: int = 0) -> str:
        """Show the axes of a layer and return the unit of the voxel size.

        Parameters
        ----------
        axes
            The axes of the layer. By default, the spatial ones are checked.
        corrected
            Whether the layer was shown before and has been corrected. Checked axes and voxel sizes
            that the user has changed are kept. The unit is kept while the unit of the layer is the
            same. A layer with another number of axes counts as a new one.
        colours
            Number of samples of a colour; 0 without colours.
        """
        old_axes, default = self._axes, diffusing_by_default(axes)
        keep_changes = corrected and len(axes) == len(old_axes)
        axes_are_chosen = keep_changes and self.axes != diffusing_by_default(old_axes)
        checked = self.axes if axes_are_chosen else default
        units, old_units = [axis.unit for axis in axes], [axis.unit for axis in old_axes]
        same_unit = keep_changes and units == old_units
        unit = self._unit if same_unit else common_unit([axes[i] for i in checked or default])
        edited_sizes: dict[int, float] = {}
        if keep_changes:
            factor = length_conversion(self._unit, unit)
            edited_sizes = {i: row.size.value * factor for i, row in self._edited_rows()}
        self._axes, self._colours = tuple(axes), colours
        with self._quietly():
            self._show_rows(checked, unit, edited_sizes)
        self._set_unit(unit)
        self._size_changed()
        return unit

    def _show_rows(self, checked: Sequence[int], unit: str, edited_sizes: dict[int, float]) -> None:
        """Show one row per axis; ``edited_sizes`` are voxel sizes of the user, by row number."""
        while len(self.rows) < len(self._axes):
            row = AxisRow()
            row.size.changed.connect(self._size_changed)
            self.rows.append(row)
            self.body.insert(len(self.rows) - 1, row)
        for i, row in enumerate(self.rows):
            row.visible = i < len(self._axes)
        for axis, row in self._axes_and_rows():
            row.smooth.text = f"{axis.name}  {axis.size}"
            row.smooth.value = axis.index in checked
            row.size.native.setAccessibleName(f"Voxel size of {axis.name}")
            row.size.visible = axis.index in checked
            row.size.value = size_in(axis, unit)
        self._layer_sizes = tuple(row.size.value for row in self.rows)
        for i, size in edited_sizes.items():
            self.rows[i].size.value = size

    def set_unit(self, unit: str, factor: float = 1.0) -> None:
        """Show voxel sizes in another unit, multiplied by ``factor``."""
        self._layer_sizes = tuple(size * factor for size in self._layer_sizes)
        with self._quietly():
            for row in self.rows:
                row.size.value = row.size.value * factor
        self._set_unit(unit)

    def _set_unit(self, unit: str) -> None:
        self._unit = unit
        for row in self.rows:
            row.size.unit = unit

    def _axes_and_rows(self) -> Iterator[tuple[Axis, AxisRow]]:
        return zip(self._axes, self.rows, strict=False)

    def _edited_rows(self) -> list[tuple[int, AxisRow]]:
        """Return numbers and rows of the axes whose voxel size the user has changed."""
        entries = enumerate(zip(self._axes_and_rows(), self._layer_sizes, strict=False))
        return [(i, row) for i, ((_, row), size) in entries if row.size.value != size]

    @slot
    def _size_changed(self) -> None:
        if not self._filling:
            self.reset.visible = bool(self._edited_rows())

    @slot
    def _reset_sizes(self) -> None:
        for row, size in zip(self.rows, self._layer_sizes, strict=True):
            row.size.value = size

    @contextmanager
    def _quietly(self) -> Iterator[None]:
        """Block ``changed`` and the update of the reset button."""
        self._filling = True
        try:
            with self.changed.blocked():
                yield
        finally:
            self._filling = False
