"""One image with a known ideal result, and noise that is repeatable from a seed."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from helpers import noise_models as noise

Array = np.ndarray
#: Seeds of the noise are multiples of this, so that none is the seed of a scene.
SEED_STEP = 101


@dataclass(frozen=True)
class NoiseCase:
    """A noise-free image and a noise.

    Attributes
    ----------
    name, kind
        Name of the case, and that of the kind of noise or image it stands for.
    scene
        Returns the image to which noise is added.
    add
        Adds noise from a generator.
    mean
        Ideal result for the scene: the mean of the noisy image, where this is not the scene.
    spacing
        Voxel size along the filtered axes [length].
    axes, channel_axis
        As in `nd.diffuse`.
    region
        Returns the mask of the voxels that count, from the shape.
    holds
        Whether the assumptions of `nd.suggest` hold: noise of a kind that it knows, the same
        everywhere or by brightness, white or nearly so, and calm places.
    name_words
        Beginnings of words, of which a report must have one where the noise has to be named.
    """

    name: str
    kind: str
    scene: Callable[[], Array]
    add: noise.Noise
    mean: Callable[[Array], Array] | None = None
    spacing: tuple[float, ...] = (1.0, 1.0, 1.0)
    axes: tuple[int, ...] | None = None
    channel_axis: int | None = None
    region: Callable[[tuple[int, ...]], Array] | None = None
    holds: bool = False
    name_words: tuple[str, ...] = ()

    def clean(self) -> Array:
        """Ideal result of a filter [intensity]; float64."""
        image = self.scene()
        return image if self.mean is None else self.mean(image)

    def noisy(self, seed: int) -> Array:
        """Image as a user has it: float32, or the integers of a camera or a file."""
        data = self.add(self.scene(), np.random.default_rng(SEED_STEP * (seed + 1)))
        return data if data.dtype.kind in "iu" else data.astype(np.float32)

    @property
    def where(self) -> Array | None:
        """Mask of the voxels that count, or None for all."""
        return None if self.region is None else self.region(self.scene().shape)

    @property
    def keywords(self) -> dict:
        """Spacing and axes, as keywords of `nd.suggest`, `nd.diffuse` and `nd.evolve`."""
        known = {"axes": self.axes, "channel_axis": self.channel_axis}
        given = {name: value for name, value in known.items() if value is not None}
        return {"spacing": self.spacing, **given}
