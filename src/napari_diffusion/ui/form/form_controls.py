"""The controls of a form: which there are, and in which rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from magicgui.widgets import ComboBox, Container, Label, PushButton, Widget
from napari.layers import Image, Labels
from qtpy.QtWidgets import QLabel

from napari_diffusion.models import Model, all_models
from napari_diffusion.ui.form.axes_table import AxesTable
from napari_diffusion.ui.form.chosen_layers import layer_choices
from napari_diffusion.ui.form.explanation import Explanation
from napari_diffusion.ui.form.noise_place import NoisePlace
from napari_diffusion.ui.form.options import Options
from napari_diffusion.ui.form.region_choice import RegionChoice
from napari_diffusion.ui.form.smoothing_amount import SmoothingAmount
from napari_diffusion.ui.layers.axes import LENGTHS, PIXEL
from napari_diffusion.ui.qt.choice_box import ChoiceBox
from napari_diffusion.ui.qt.layout import (
    NO_MARGINS,
    bare_container,
    keep_narrow,
    put_label_above,
    reserve_height,
    wrapping_label,
)
from napari_diffusion.ui.qt.quantity_box import QuantityBox
from napari_diffusion.ui.qt.viewer_part import ViewerPart
from napari_diffusion.ui.structures.picker import StructurePicker
from napari_diffusion.ui.values.strength import THREE_LINES, StrengthControl


class FormControls(ViewerPart, Container):  # type: ignore[type-arg]
    """The controls of one widget, without what they do.

    Parameters
    ----------
    viewer
        The viewer that holds the layers.
    isotropic
        Whether to list the isotropic models or the anisotropic ones.
    fail
        Shows an error.

    Attributes
    ----------
    region
        Choice of the region of interest, which the preview places below its controls.
    structure
        Choice of what the image shows; ``None`` in the isotropic widget.
    strength
        Strength; ``None`` in the isotropic widget.
    reduction, effect
        Noise reduction for *Suggest*, and its effect; ``None`` in the edge-preserving widget.
    strength_place
        Container of the strength, on the first screen.
    value_rows, reasons
        Rows of the parameters and of the amount of smoothing, and the box "Why these values". The
        widget places them in the drawer *Fine-tune*.
    model_row, option_rows
        The list of all models and the options of a run, for the drawer *Expert and history*.
    """

    def __init__(self, viewer: Any, isotropic: bool, fail: Callable[[Exception], None]) -> None:
        ViewerPart.__init__(self, viewer, fail)
        self._isotropic = isotropic
        self._make_controls()
        self._make_options()
        Container.__init__(self, widgets=self._rows, labels=False)
        self.margins = NO_MARGINS

    @property
    def isotropic(self) -> bool:
        """Whether the widget is the isotropic one."""
        return self._isotropic

    @property
    def noise_reduction(self) -> float | None:
        """Factor by which the noise shall fall; ``None`` for the least error."""
        return None if self.reduction is None else float(self.reduction.value)

    def _make_controls(self) -> None:
        """Make the controls that are always visible."""
        tip = "Image to filter; follows the selected layer."
        self.layer = ChoiceBox(choices=layer_choices(self._viewer, Image), tooltip=tip)
        # magicgui reads the siblings of every widget that changes, and reading a layer is slow: the
        # layer has a container of its own.
        layer_row = bare_container(self.layer, label="Image", labels=False, tooltip=tip)
        image = bare_container(layer_row)
        models = self._listed_models()
        # "visible=True" would open it as a window of its own, before it is in a container.
        shown = None if len(models) > 1 else False
        self.model = ComboBox(choices=models, label="Model", visible=shown)
        self.table = AxesTable()
        if self._isotropic:
            tip = "How strong to smooth: the width of the Gaussian."
        else:
            tip = "How strong to smooth. Where an edge holds it back, less is smoothed."
        self.amount = SmoothingAmount(tip, keeps_edges=not self._isotropic)
        self.suggest = PushButton(text="Suggest")
        self.reasons = Explanation()
        for combo_box in (self.layer, self.model):
            keep_narrow(combo_box)
        self._rows: list[Widget] = [image, self.table]
        self.structure: StructurePicker | None = None
        if not self._isotropic:
            self.structure = StructurePicker([model for _, model in models])
            self._rows.append(self.structure)
        self._make_amount()
        self._rows.append(self.strength_place)

    def _make_amount(self) -> None:
        """Make the control that says how strong to smooth, and the rows of the values."""
        self.strength: StrengthControl | None = None
        self.reduction: QuantityBox | None = None
        self.effect: Label | None = None
        if self._isotropic:
            self.effect = wrapping_label()
            tip = "Factor by which the standard deviation of the noise shall fall."
            self.reduction = QuantityBox(3.0, tooltip=tip, minimum=1.01, digits=3, arrows=False)
            self.reduction.unit = "times"
            parts = (self.reduction, self.suggest)
            row = bare_container(*parts, layout="horizontal", labels=False, label="Reduce noise")
            effect = bare_container(self.effect, layout="horizontal", labels=False, label=" ")
            reserve_height(effect, QLabel(THREE_LINES))  # what is below stays in place
            self.strength_place = bare_container(self.amount, row, effect)
            put_label_above(effect)
            self.value_rows = bare_container()
        else:
            self.strength = StrengthControl()
            self.strength_place = bare_container(self.strength, labels=False)
            row = bare_container(self.suggest, labels=False, label=" ")
            self.value_rows = bare_container(self.amount, row)
            put_label_above(row)
        put_label_above(self.amount, self.amount.line.mark, self.amount.line.arrow)

    def _listed_models(self) -> list[tuple[str, type[Model]]]:
        """Return titles and classes of the models of the widget."""
        models = [(model.title, model) for model in all_models()]
        return [(title, model) for title, model in models if model.isotropic is self._isotropic]

    def _make_options(self) -> None:
        choices = layer_choices(self._viewer, Labels), layer_choices(self._viewer, Image)
        self.run_options = Options(self._unit_choices, *choices)
        self.option_rows = self.run_options.box
        self.model_row = bare_container(self.model)  # long names, so a narrow label
        self.unit, self.regions = self.run_options.unit, self.run_options.regions
        self.guide = self.run_options.guide
        self.region = RegionChoice(self._viewer, self.fail)
        self.noise_place = NoisePlace(self._viewer, self.fail)

    def _unit_choices(self, _: Any) -> list[str]:
        return list(dict.fromkeys([self.table.unit or PIXEL, PIXEL, *LENGTHS]))
