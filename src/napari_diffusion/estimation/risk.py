r"""Quality of a filtered image, estimated without the clean image.

**Monte-Carlo SURE** (Stein 1981; Ramani, Blu & Unser 2008) is an unbiased estimate of the mean
squared error for Gaussian noise of variance :math:`\sigma_i^2` at voxel i,

.. math:: \mathrm{SURE} = \frac1n\sum_i\Bigl[(u_i - f_i)^2 - \sigma_i^2
          + \frac{2}{\varepsilon}\,\sigma_i b_i\,\bigl(u_i(f + \varepsilon\sigma b)
          - u_i(f)\bigr)\Bigr]

It needs one more run, of the image with a probe b added. The probe has the covariance C of the
noise, so that the last term has the mean :math:`2\operatorname{tr}(C\,\partial u/\partial f)`. For
white noise the probe consists of signs :math:`b_i = \pm 1`. For correlated noise it consists of
random numbers with the same correlations.

With variances that follow the local mean, SURE also serves Poisson, speckle and Rician noise. The
error is then relative to the noise-free mean, which for Rician noise is not the amplitude. A model
that removes this bias is judged by the squares of the magnitudes, see
`napari_diffusion.estimation.squared_magnitudes`.

**Skewed noise** has another identity than Stein's: a value far from the mean counts more. The
square of the probe is then the Stein kernel of the noise, see
`napari_diffusion.estimation.noise.kinds.Noise.kernel`. A filter that keeps spikes as edges looks
better than it is without that.

The probe is a known noise. The same two runs therefore give the share of the noise that is left. A
third run, with a probe as strong as the noise, gives the share of noise in the removed part. The
part that changes with the probe is noise, the rest is picture. The third image has twice the
variance of noise. Total variation and other filters with a threshold remove a smaller part of it,
and the share is then too low. The response to the weak probe gives an upper limit (the Poincaré
inequality for Gaussian variables), which is exact for linear filters. Below a threshold it exceeds
1, and says nothing.

**Decorrelation** (Mrázek & Navara 2003) minimises the correlation of the removed part with the
result. **J-invariance** (Batson & Royer 2019) hides voxels from the filter and measures how well it
predicts them. Neither needs the level of the noise, but both need white noise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.core.arrays import FloatArray
from napari_diffusion.estimation.squared_magnitudes import SquaredMagnitudes

#: Amplitude of the probe, in units of the noise (Ramani et al. 2008: any small value will do).
EPSILON = 0.1
#: Weight of the share from the weak probe, up to the value 1 of this share, and the value from
#: which on the weight is 0. Of all sixths, this weight has the smallest largest error: 0.08 on 36
#: pairs of picture and model (`tests/benchmarks/noise_decisions.py --only share`).
WEAK_WEIGHT, MAX_WEAK_SHARE = 2 / 3, 1.3
#: Share of noise in the removed part below which a choice is not careful. For the EPI of
#: docs/automatic.md, a share estimated as 0.7 is 0.5 according to a second volume, whose noise is
#: independent: filters with a threshold below the noise change with twice the noise.
MIN_NOISE_SHARE = 0.7


class Sums(NamedTuple):
    """Sums over the voxels that count; risks are computed from them.

    Attributes
    ----------
    voxels
        Number of voxels.
    variance
        Variance of the noise [intensity²].
    unfiltered
        Squared error of the image itself: the variance, and the squares of the impulses.
    error_squared
        Square of the result less the image without impulses.
    divergence
        Product of the probe and the response to it [intensity²].
    response_squared
        Square of the response to the probe [intensity²].
    removed, removed_squared, removed_magnitude
        Removed part, its square and its magnitude.
    noise_squared, noise_magnitude
        Change of the removed part when noise is added, its square and its magnitude. In every
        window, the square counts up to that of the removed part: noise in one place is no evidence
        that the part removed from another place is noise.
    result, result_squared, product
        Result, its square, and its product with the removed part.
    weak_noise_squared
        The same from the response to the weak probe, in every window up to the removed part.
    hidden_voxels, hidden_squared
        Number of hidden voxels, and squared difference to their prediction.
    contrast_removed
        Contrast of thin structure in the removed part, in units of that of the image.
    on_structure
        The same sums over the voxels with structure alone.
    """

    voxels: float
    variance: float
    unfiltered: float
    error_squared: float
    removed_squared: float
    divergence: float
    response_squared: float
    noise_squared: float
    removed: float
    result: float
    result_squared: float
    product: float
    hidden_voxels: float
    hidden_squared: float
    noise_magnitude: float
    removed_magnitude: float
    weak_noise_squared: float = 0.0
    contrast_removed: float = 0.0
    on_structure: Sums | None = None


def total(parts: Sequence[Sums]) -> Sums:
    """Sums over several patches together."""
    on_structure = [part.on_structure for part in parts if part.on_structure is not None]
    numbers = (sum(column) for column in zip(*(part[:-1] for part in parts), strict=True))
    return Sums._make((*numbers, total(on_structure) if on_structure else None))


@dataclass(frozen=True)
class Probe:
    """A patch with the arrays from which its risk is computed; fields ``(C, *space)``.

    Attributes
    ----------
    image
        The patch [intensity].
    deviation
        Standard deviation of the noise [intensity], 0 at voxels that do not count.
    pattern
        The probe, in units of ``deviation``.
    other
        The second image to filter: ``image`` with `EPSILON` times the probe added, or with the
        ``hidden`` voxels replaced.
    hidden
        Hidden voxels, for J-invariance.
    structure
        Voxels with structure. If given, a third image is filtered, with the whole probe added.
    window
        Shape of the windows in which noise and picture are compared, along the axes of ``space``.
    reference
        The image in which impulses are replaced by the mean of their neighbours; None without any.
    template
        Weights that measure the contrast of thin structure, see `thin_structure`.
    template_response
        Change of the ``template`` with the probe, in units of `EPSILON`.
    weight
        Factor on the small probe, see `Noise.kernel`; None for Gaussian noise.
    squares
        If given, ``image``, ``deviation`` and ``other`` are on the scale of squared magnitudes.
    """

    image: FloatArray
    deviation: FloatArray
    pattern: FloatArray
    other: FloatArray
    hidden: NDArray[np.bool_] | None = None
    structure: NDArray[np.bool_] | None = None
    window: tuple[int, ...] = ()
    reference: FloatArray | None = None
    template: FloatArray | None = None
    template_response: FloatArray | None = None
    weight: FloatArray | None = None
    squares: SquaredMagnitudes | None = None

    @property
    def unfiltered(self) -> float:
        """Squared error of the image itself: the variance, and the squares of the impulses."""
        squares = float(np.square(self._own_error, dtype=float).sum())
        if self.reference is None:
            return squares
        impulses = np.where(self.deviation > 0, self.reference - self.image, 0)
        return squares + float(np.square(impulses, dtype=float).sum())

    @property
    def _own_error(self) -> FloatArray:
        """Error of the image itself: that of magnitudes is close to s where there is a signal."""
        if self.squares is None:
            return self.deviation
        return np.where(self.deviation > 0, self.squares.noise, 0)

    @property
    def images(self) -> tuple[FloatArray, ...]:
        """The two or three images to filter [intensity]."""
        images = [self.image, self.other]
        if self.structure is not None:
            images.append(self.image + self.deviation * self.pattern)
        if self.squares is not None:
            images = [self.squares.to_image(image) for image in images]
        return tuple(images)

    def part(self, box: tuple[slice, ...]) -> Probe:
        """Return the probe of a box of the patch."""
        arrays: dict[str, Any] = {
            name: values[:, *box]
            for name, values in vars(self).items()
            if isinstance(values, np.ndarray)
        }
        squares = None if self.squares is None else self.squares.part(box)
        return replace(self, squares=squares, **arrays)

    def sums(
        self, result: FloatArray, other: FloatArray, noisier: FloatArray | None = None
    ) -> Sums:
        """Sums from the filtered `images`."""
        if self.squares is not None:
            result, other = self.squares.of_result(result), self.squares.of_result(other)
            noisier = None if noisier is None else self.squares.of_result(noisier)
        counts = self.deviation > 0
        on_structure = None
        if self.structure is not None:
            on_structure = self._sums_over(counts & self.structure, result, other, noisier)
        elif self.template is not None:
            on_structure = self._sums_over(counts & (self.template != 0), result, other, None)
        return self._sums_over(counts, result, other, noisier)._replace(on_structure=on_structure)

    def _sums_over(
        self,
        counts: NDArray[np.bool_],
        result: FloatArray,
        other: FloatArray,
        noisier: FloatArray | None,
    ) -> Sums:
        has_share, image = noisier is not None, self.image
        noisier = result if noisier is None else noisier
        reference = self.reference
        if reference is not None:
            reference = np.where(counts, reference, 0)
        if not counts.all():  # the other voxels may have any value, NaN too
            image, result, other, noisier = (
                np.where(counts, part, 0) for part in (image, result, other, noisier)
            )
        deviation = self.deviation * counts
        full = deviation * self.pattern
        probe = full if self.weight is None else full * self.weight
        removed, response = result - image, (other - result) / EPSILON
        impulses = np.zeros(1, image.dtype) if reference is None else reference - image
        noise = noisier - result - full
        hidden = np.zeros_like(counts) if self.hidden is None else counts & self.hidden

        def sum_of(values: NDArray[Any]) -> float:
            return float(values.sum())

        weak_noise = self._noise_in(removed - impulses, response - probe) if has_share else 0.0
        contrast_removed = 0.0
        if self.template is not None and self.template_response is not None:
            # The template follows the noise, of which something is removed. The probe shows how
            # much of their product is due to that.
            chance = sum_of(self.template_response * (response - probe))
            contrast_removed = sum_of(self.template * removed) - chance

        return Sums(
            voxels=sum_of(counts),
            variance=sum_of(deviation**2),
            unfiltered=sum_of((self._own_error * counts) ** 2) + sum_of(impulses**2),
            error_squared=sum_of((removed - impulses) ** 2),
            removed_squared=sum_of(removed**2),
            divergence=sum_of(response * probe),
            response_squared=sum_of(response**2),
            noise_squared=self._noise_in(removed - impulses, noise),
            removed=sum_of(removed),
            result=sum_of(result),
            result_squared=sum_of(result**2),
            product=sum_of(removed * result),
            hidden_voxels=sum_of(hidden),
            hidden_squared=sum_of((other - image)[hidden] ** 2),
            noise_magnitude=sum_of(np.abs(noise)),
            removed_magnitude=sum_of(np.abs(removed)),
            weak_noise_squared=weak_noise,
            contrast_removed=contrast_removed,
        )

    def _noise_in(self, removed: FloatArray, noise: FloatArray) -> float:
        """Sum of the squares of the noise, in every window up to those of the removed part."""
        if not noise.any():
            return 0.0
        if not self.window:
            return float(np.sum(noise**2))
        from scipy import ndimage

        sizes = (1, *self.window)
        parts = (ndimage.uniform_filter(part**2, sizes) for part in (removed, noise))
        return float(np.minimum(*parts).sum())


def noise_probe(
    image: FloatArray,
    deviation: FloatArray,
    pattern: FloatArray,
    weight: FloatArray | None = None,
) -> Probe:
    """Probe for SURE; the arguments are attributes of `Probe`."""
    step = image.dtype.type(EPSILON) * deviation * pattern
    if weight is not None:
        step = step * weight
    return Probe(image, deviation, pattern, image + step, weight=weight)


def hidden_voxel_probe(image: FloatArray, deviation: FloatArray) -> Probe:
    """Probe for J-invariance, in which hidden voxels are replaced by the mean of their neighbours.

    Every third voxel along every axis is hidden.
    """
    from scipy import ndimage

    hidden = np.ones(image.shape, bool)
    neighbours = np.zeros(image.shape, image.dtype)
    axes = [axis for axis, n in enumerate(image.shape) if axis and n > 2]
    for axis in axes:
        is_third = np.arange(image.shape[axis]) % 3 == 1
        hidden &= is_third.reshape([-1 if i == axis else 1 for i in range(image.ndim)])
        # At a border, the one neighbour counts twice. Boundary mode "mirror" does so; "reflect"
        # would use the voxel itself.
        neighbours += ndimage.correlate1d(
            image, np.array([0.5, 0, 0.5]) / len(axes), axis, mode="mirror"
        )
    other = np.where(hidden & (deviation > 0), neighbours, image)
    return Probe(image, deviation, np.zeros_like(image), other, hidden)


def sure(sums: Sums) -> float:
    """Stein's unbiased estimate of the mean squared error [intensity²]."""
    return (sums.error_squared - sums.variance + 2 * sums.divergence) / sums.voxels


def mean_squared_error(sums: Sums) -> float:
    """Estimated mean squared error [intensity²], for either probe."""
    if sums.hidden_voxels:
        return prediction_error(sums) - sums.variance / sums.voxels
    return sure(sums)


def noise_left(sums: Sums) -> float:
    """Share of the noise's standard deviation left in the result; NaN with hidden voxels."""
    if sums.hidden_voxels:
        return math.nan
    return math.sqrt(sums.response_squared / sums.variance)


def strong_noise_share(sums: Sums) -> float:
    r"""Share of noise in the removed part, by squares, from a probe as strong as the noise.

    NaN where nothing is removed. With noise n' like that of the image, and the removed part
    :math:`r(f) = u(f) - f`, the share is :math:`\sum (r(f + n') - r(f))^2 / \sum r(f)^2`. It is 1
    for a filter that does not change the picture. The probe must have a ``structure``.
    """
    if not sums.removed_squared > 0:
        return math.nan
    return min(1.0, (sums.noise_squared + _impulses_removed(sums)) / sums.removed_squared)


def noise_share(sums: Sums) -> float:
    """Share of noise in the removed part, by squares; NaN where nothing is removed.

    It is the mean of `strong_noise_share` and the share from the weak probe, as far as this holds.
    The probe must have a ``structure``.
    """
    strong = strong_noise_share(sums)
    if math.isnan(strong):
        return math.nan
    impulses = _impulses_removed(sums)
    whole = sums.response_squared - 2 * sums.divergence + sums.variance + impulses
    excess = (whole / sums.removed_squared - 1) / (MAX_WEAK_SHARE - 1)
    weight = WEAK_WEIGHT * min(1.0, max(0.0, 1 - excess))
    weak = min(1.0, (sums.weak_noise_squared + impulses) / sums.removed_squared)
    return strong + weight * max(0.0, weak - strong)


def _impulses_removed(sums: Sums) -> float:
    """Square of what is removed from impulses, which is noise, too."""
    return max(0.0, sums.removed_squared - sums.error_squared)


def typical_noise_share(sums: Sums) -> float:
    """Share of noise in the removed part, by magnitudes; NaN where nothing is removed.

    Compared with `strong_noise_share`, it depends less on a small number of voxels from which much
    is removed, such as those beside an edge.
    """
    if not sums.removed_magnitude > 0:
        return math.nan
    return min(1.0, (sums.noise_magnitude / sums.removed_magnitude) ** 2)


def careful_risk(sums: Sums) -> float:
    """Mean squared error [intensity²] with a penalty where detail is removed from structure.

    It is `sure` if the share of noise in the part removed from structure is at least
    `MIN_NOISE_SHARE`. Otherwise it exceeds the variance of the noise, the risk without a filter,
    and increases as the share falls.
    """
    share = math.nan if sums.on_structure is None else strong_noise_share(sums.on_structure)
    if share < MIN_NOISE_SHARE:
        return sums.unfiltered / sums.voxels * (1 + MIN_NOISE_SHARE - share)
    return sure(sums)


def residual_correlation(sums: Sums) -> float:
    """Magnitude of the correlation between the removed part and the result.

    It is 1 if one of them is constant.
    """
    n = sums.voxels
    covariance = sums.product - sums.removed * sums.result / n
    both = (sums.removed_squared - sums.removed**2 / n) * (sums.result_squared - sums.result**2 / n)
    return abs(covariance) / math.sqrt(both) if both > 0 else 1.0


def prediction_error(sums: Sums) -> float:
    """Mean squared error of the prediction of hidden voxels [intensity²].

    Its mean is the error of the filter plus the variance of the noise.
    """
    return sums.hidden_squared / sums.hidden_voxels if sums.hidden_voxels else math.inf


#: Criteria that can be minimised, by name.
CRITERIA = {
    "sure": sure,
    "decorrelation": residual_correlation,
    "j-invariance": prediction_error,
}
