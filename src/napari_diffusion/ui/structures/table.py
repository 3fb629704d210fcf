"""Table of structures: what an image shows, and the model for it. It needs no Qt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from napari_diffusion.models import (
    BUILTIN,
    CoherenceEnhancing,
    MembraneEnhancing,
    Model,
    PeronaMalik,
    Rician,
    SpeckleReducing,
    TotalVariation,
    VesselEnhancing,
)

PICTURES = Path(__file__).parent / "pictures"


@dataclass(frozen=True)
class Structure:
    """What an image shows.

    Attributes
    ----------
    name
        Words for it that end the sentence "My image shows …".
    model
        The model for it; ``None`` where the image decides.
    sentence
        What is done to such an image.
    """

    name: str
    model: type[Model] | None
    sentence: str

    @property
    def picture(self) -> Path:
        """File of its picture, before and after; `picture_at` gives that of another size."""
        return self.picture_at(1)

    def picture_at(self, scale: int) -> Path:
        """Return the file of its picture for a screen of a pixel ratio of 1 or 2."""
        suffix = "" if scale == 1 else f"@{scale}x"
        return PICTURES / f"{self.name.replace(' ', '_')}{suffix}.png"


CELLS = Structure(
    "cells and tissue",
    PeronaMalik,
    "Removes noise inside cells and tissue and keeps their edges.",
)
FLAT = Structure(
    "flat regions",
    TotalVariation,
    "Makes regions flat and keeps their edges sharp. Small faint objects may vanish.",
)
FIBRES = Structure(
    "fibres and sheets",
    CoherenceEnhancing,
    "Smooths along fibres and within sheets, not across them, and closes small gaps.",
)
MAGNITUDE = Structure(
    "magnitude MRI",
    Rician,
    "For magnitude images with weak signal, as in diffusion MRI. The noise bias is removed, too.",
)
#: Structures with a picture, from left to right.
FIRST_ROW = (CELLS, FLAT, FIBRES, MAGNITUDE)
#: The image decides: `suggest` chooses the model.
AUTOMATIC = Structure(
    "automatic", None, "Tries several models on pieces of the image and takes the best one."
)
MORE = (
    Structure(
        "vessels", VesselEnhancing, "Smooths along vessels and in the background, not across them."
    ),
    Structure(
        "membranes",
        MembraneEnhancing,
        "Smooths within thin membranes, such as cell walls, and closes holes in them.",
    ),
    Structure(
        "ultrasound",
        SpeckleReducing,
        "Removes speckle, noise that grows with the brightness, as in ultrasound, OCT and radar.",
    ),
    AUTOMATIC,
)


def structure_of(model: type[Model]) -> Structure:
    """Return the structure that a model is for; a model without one is named by its title."""
    for structure in (*FIRST_ROW, *MORE):
        if structure.model is model:
            return structure
    return Structure(model.title, model, model.summary)


def further_structures(models: Sequence[type[Model]]) -> tuple[Structure, ...]:
    """Return the structures without a picture.

    Models of other packages follow those of this one.

    Parameters
    ----------
    models
        All models to choose from.
    """
    others = [structure_of(model) for model in models if model not in BUILTIN]
    return (*MORE, *others)
