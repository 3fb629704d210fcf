"""Options of a run: the controls under "More options"."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from magicgui.widgets import CheckBox, ComboBox, Widget

from napari_diffusion.engine.slab_pool import cpu_count
from napari_diffusion.schemes import BUILTIN as SCHEMES
from napari_diffusion.schemes import Scheme
from napari_diffusion.ui.layers.axes import PIXEL
from napari_diffusion.ui.qt.foldable import Foldable
from napari_diffusion.ui.qt.layout import bare_container, keep_narrow
from napari_diffusion.ui.qt.quantity_box import QuantityBox

SCHEME_NAMES = ["auto", *(scheme.name for scheme in SCHEMES)]


class Options:
    """The box "More options" and its controls.

    Parameters
    ----------
    units
        Returns the units of length to choose from.
    labels
        Returns names and layers of the labels to choose from.

    Attributes
    ----------
    box
        The foldable box.
    unit, regions, nan, preserve, scheme, tolerance, strict, threads
        Controls for the unit of length, the labels to smooth within, the treatment of NaN, the
        integer type, the scheme, its tolerance, the range of values and the number of threads.
    """

    def __init__(
        self,
        units: Callable[[Any], list[str]],
        labels: Callable[[Any], list[tuple[str, Any]]],
    ) -> None:
        tip = "Unit of the voxel size and of every length here."
        self.unit = ComboBox(choices=units, value=PIXEL, label="Length unit", tooltip=tip)
        tip = "Smooth inside each label on its own and leave label 0 as it is."
        self.regions = ComboBox(choices=labels, nullable=True, label="Within labels", tooltip=tip)
        self.regions.null_string = "everywhere"
        tip = "What to do about NaN and infinite values."
        nan_choices = [("stop with a message", "raise"), ("leave, smooth around", "mask")]
        self.nan = ComboBox(choices=nan_choices, label="NaN", tooltip=tip)
        tip = (
            "Round the result to the integer type of the image; otherwise it is float32, in the "
            "same intensity unit."
        )
        self.preserve = CheckBox(text="Keep integer type", tooltip=tip)
        preserve_row = bare_container(self.preserve, labels=False, label=" ")
        tip = "How to step through diffusion time; auto takes the fastest that is exact enough."
        self._own_scheme: Scheme | None = None
        self.scheme = ComboBox(choices=self._schemes, label="Scheme", tooltip=tip)
        tip = "Error in time to aim at, as a share of the intensity range."
        self.tolerance = QuantityBox(1e-3, label="Tolerance", tooltip=tip, arrows=False)
        tip = "Guarantee that no value leaves the range of the image, at some cost."
        self.strict = CheckBox(text="Never leave the range", tooltip=tip)
        strict_row = bare_container(self.strict, labels=False, label=" ")
        tip = "How many to use. The result does not depend on it."
        counts = [("as in preferences", 0), *((str(n), n) for n in range(1, cpu_count() + 1))]
        self.threads = ComboBox(choices=counts, label="Threads", tooltip=tip)
        for combo_box in (self.regions, self.nan, self.scheme, self.threads):
            keep_narrow(combo_box)
        controls: list[Widget] = [
            self.unit,
            self.regions,
            self.nan,
            preserve_row,
            self.scheme,
            self.tolerance,
            strict_row,
            self.threads,
        ]
        tip = "Everything else that can be set."
        self.box = Foldable("More options", controls, labels=True, tooltip=tip)

    def offer_scheme(self, scheme: str | Scheme) -> None:
        """Add a scheme with parameters of its own, as a recipe may have, to the choices."""
        self._own_scheme = scheme if isinstance(scheme, Scheme) else None
        self.scheme.reset_choices()

    def _schemes(self, _: Any) -> list[tuple[str, str | Scheme]]:
        own = [] if self._own_scheme is None else [(str(self._own_scheme), self._own_scheme)]
        return [*((name, name) for name in SCHEME_NAMES), *own]
