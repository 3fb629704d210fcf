"""Topics of the explanations: their texts and figures."""

from __future__ import annotations

from dataclasses import dataclass

from napari_diffusion.ui.explain import figures


@dataclass(frozen=True)
class Topic:
    """One explanation.

    Attributes
    ----------
    title
        The word that is explained.
    text
        A few sentences.
    control
        What the slider below the figure changes.
    make
        Makes the figure of a picture.
    """

    title: str
    text: str
    control: str
    make: figures.Maker


TOPICS = (
    Topic(
        "Isotropic",
        "Grey levels spread like heat: each pixel moves towards the mean of its neighbours. "
        "The longer the time, the wider the blur. It equals a Gaussian filter. "
        "Noise fades first, and then small details and edges.",
        "Diffusion time",
        figures.isotropic,
    ),
    Topic(
        "Anisotropic",
        "Heat stops at a wall. Here every edge of the picture is a wall, and grey levels spread "
        "only between walls. Noise inside a region fades, and its border stays sharp. "
        "Both pictures get the same amount of smoothing.",
        "Diffusion time",
        figures.anisotropic,
    ),
    Topic(
        "Edge threshold",
        "A change of intensity steeper than the threshold κ counts as an edge and is kept. "
        "Too low: noise counts as edges and stays. Too high: real edges are blurred. "
        "A good threshold is just above the noise.",
        "Edge threshold",
        figures.edge_threshold,
    ),
    Topic(
        "Strength",
        "The middle of the slider has the smallest expected error. Gentle keeps more detail and "
        "more noise. Strong removes more of both. "
        "What is removed should look like noise. Shapes in it are lost detail.",
        "Strength",
        figures.strength,
    ),
    Topic(
        "Fibres",
        "Along a fibre the grey level hardly changes; across it, it changes a lot. "
        "This filter measures the direction at each pixel and smooths along it. "
        "Gaps in fibres close, and neighbouring fibres stay apart. "
        "It can also draw lines into pure noise.",
        "Diffusion time",
        figures.fibres,
    ),
)
