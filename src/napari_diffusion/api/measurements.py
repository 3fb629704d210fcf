"""Measurements on an image, and the choice of parameters from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from napari_diffusion.core.arrays import FloatArray
from napari_diffusion.core.cancellation import CancelEvent
from napari_diffusion.core.geometry import Domain, Geometry, axis_number
from napari_diffusion.diagnostics.accuracy import time_integration_error
from napari_diffusion.diagnostics.conductance import conductance_map
from napari_diffusion.diagnostics.gradients import Gradients, sample_gradients
from napari_diffusion.diagnostics.orientation import Directions, coherence_map, sample_directions
from napari_diffusion.engine.halo_block import AxisIndex
from napari_diffusion.engine.problem import make_problem, unread_problem
from napari_diffusion.engine.recipe_fields import (
    RecipeFields,
    steady_time,
    transform_numbers,
)
from napari_diffusion.estimation.measurement.photons import with_transform
from napari_diffusion.estimation.options import SuggestionOptions, entries
from napari_diffusion.estimation.selection import suggest_for
from napari_diffusion.estimation.suggestion import Suggestion
from napari_diffusion.models import Linear, Model
from napari_diffusion.schemes import Scheme


def suggest(
    image: Any,
    model: Model | str = "auto",
    *,
    spacing: float | Sequence[float] = 1.0,
    axes: Sequence[int] | None = None,
    channel_axis: int | None = None,
    mask: Any = None,
    labels: Any = None,
    guide: Any = None,
    time_axis: int | None = None,
    impulses: str = "keep",
    noise: str | None = None,
    criterion: str = "sure",
    fwhm: float | None = None,
    noise_reduction: float | None = None,
    fixed: Sequence[str] = (),
    thorough: bool = True,
    others: Sequence[Any] = (),
    unit: str = "pixel",
    aim: str = "error",
    strength: float = 0.0,
    noise_region: Any = None,
    guide_weight: float = 1.0,
    fidelity_length: float | None = None,
    transform: str = "none",
    gain: float | None = None,
    offset: float | None = None,
    read_noise: float | None = None,
    cancel: CancelEvent | None = None,
) -> Suggestion:
    r"""Choose a model, its parameters and a diffusion time from the noise of an image.

    The choice has the least estimated mean squared error on some representative patches of the
    image (SURE: Stein 1981; by Monte Carlo: Ramani, Blu & Unser 2008), or serves another ``aim``.
    If structures gain less than 1.5 dB and lose detail, only candidates that remove mainly noise
    are considered. Where the noise level differs from place to place by a factor of 2 or more, a
    model with a ``kappa_map`` gets one. Where two noise levels explain the image, the lower one is
    used. The computing time is bounded, and the result is reproducible. The page *Automatic
    parameters* describes the method and its limits.

    Parameters
    ----------
    image, spacing, axes, channel_axis, mask, labels
        As in `diffuse`. Values that are not finite are ignored. Frames (indices of the axes that do
        not diffuse) share one set of parameters.
    model
        Model whose parameters are chosen, such as ``nd.PeronaMalik()``. ``"auto"`` chooses the
        model too, among all that keep the mean. Parameters that the noise does not determine, such
        as ``diffusivity``, keep their value. A named model for thin structure keeps 93 % of the
        contrast of lines.
    guide, guide_weight
        As in `diffuse`. Thresholds are chosen for the guide, or for the sum of both images with a
        weight below 1; the time follows the noise of the image. The models to choose from are those
        that take a guide. The ``others`` have the same guide.
    time_axis
        Axis along which the same object is imaged again; the noise may then be measured on changes
        along it. By default the first axis that neither diffuses nor holds channels may be one.
    impulses
        As in `diffuse`: ``"mask"`` chooses for a run that replaces hot and dead voxels.
    noise
        Kind of noise, ``"gaussian"``, ``"rician"``, ``"poisson"`` or ``"speckle"``; by default it
        is estimated from the image.
    criterion
        Quantity to minimise: ``"sure"``, or, for white noise of any kind, the ``"decorrelation"``
        of result and residual, or ``"j-invariance"``, the prediction error at hidden voxels. With
        these two, the suggestion has no ``gain_interval`` and no ``noise_share``.
    fwhm
        Full width at half maximum [length] of the equivalent Gaussian, > 0; this fixes the time.
    noise_reduction
        Factor > 1 by which the standard deviation of the noise falls; this fixes the time.
    fixed
        Names of parameters that keep their value in ``model``. With ``"kappa"`` in it, a model gets
        no ``kappa_map``.
    thorough
        ``False`` sets the parameters by rule of thumb (threshold: a third of the noise per voxel,
        three quarters in 3-D; scale: half a voxel) and chooses only the time. It takes a tenth of
        the computing time; the result is about 0.5 dB worse.
    others
        Further images with the same axes and voxel size that share the choice.
    unit
        Name of the unit of length in the report.
    aim
        ``"error"``: least error. ``"segmentation"``: regions as even as possible, for a watershed,
        while their boundaries keep 90 % of the contrast that they have at least error. It excludes
        ``fwhm`` and ``noise_reduction``.
    strength
        Number from -1 (gentle) over 0 (recommended) to 1 (strong) that changes the time. At -1, a
        third of the recommended noise removal is kept [dB]. At 1, the estimated gain has fallen by
        2 dB, or by half if that is less. `Suggestion.with_strength` changes it without a new
        measurement. It excludes ``fwhm`` and ``noise_reduction``.
    noise_region
        Bool array, True at a place without structure, such as background. The noise is measured
        there alone, and taken to be the same everywhere: for images without calm places. Shape as
        that of ``mask``, which does not limit it; at least 200 voxels.
    fidelity_length
        As in `diffuse`. The time is then that of the steady state, unless ``fwhm`` or
        ``noise_reduction`` fixes it, and only parameters are chosen.
    transform, gain, offset, read_noise
        As in `diffuse`: ``"anscombe"`` chooses for a run that makes photon noise uniform. Numbers
        that are not given are measured. `Suggestion.options` has all of them.
    cancel
        Event that ends the computation with `Cancelled` when it is set.

    Returns
    -------
    Suggestion
        Unpacks to ``model, time [length²]``. Its ``summary`` says what is gained in plain words,
        and its ``report`` adds warnings, measurements and reasons.

    Raises
    ------
    TypeError, ValueError
        As `diffuse`; also when no noise can be measured (constant, binary, too few voxels), and
        when two options fix the amount of smoothing.
    Cancelled
        When ``cancel`` was set.

    Examples
    --------
    >>> import numpy as np
    >>> import napari_diffusion as nd
    >>> edge = 50 * (np.indices((64, 64)).sum(0) > 60)
    >>> noisy = edge + np.random.default_rng(0).normal(0, 5, (64, 64))
    >>> model, time = nd.suggest(noisy, nd.PeronaMalik())
    >>> smooth = nd.diffuse(noisy, model, time=time)
    """
    geometry, recipe = (
        Geometry(spacing, axes, channel_axis),
        RecipeFields(
            Linear(),
            0.0,
            nan="mask",
            impulses=impulses,
            guide_weight=guide_weight,
            fidelity_length=fidelity_length,
            transform=transform,
        ),
    )
    problems = [make_problem(image, recipe, geometry, Domain(mask, labels, guide=guide))]
    of_others = Domain(guide=guide)
    problems += [make_problem(o, recipe, geometry, of_others) for o in entries("others", others)]
    count = len(problems[0].shape)
    time_axes = None if time_axis is None else (axis_number(time_axis, count, "time_axis"),)
    if transform != "none":
        numbers = zip(transform_numbers(), (gain, offset, read_noise), strict=True)
        given = {name: value for name, value in numbers if value is not None}
        problems = with_transform(problems, given, time_axes, cancel)
    is_steady = fidelity_length is not None and fwhm is None and noise_reduction is None
    options = SuggestionOptions(
        noise,
        criterion,
        fwhm,
        noise_reduction,
        fixed,
        thorough,
        unit,
        aim,
        strength,
        time_axes,
        noise_region,
        steady_time(fidelity_length, recipe.tolerance) if is_steady else None,
    )
    return suggest_for(problems, model, options, cancel)


def gradients(
    image: Any,
    *,
    sigma: float = 0.0,
    spacing: float | Sequence[float] = 1.0,
    axes: Sequence[int] | None = None,
    channel_axis: int | None = None,
    mask: Any = None,
    labels: Any = None,
    impulses: str = "keep",
    frame: Sequence[int] | None = None,
    cancel: CancelEvent | None = None,
) -> Gradients:
    r"""Sample the gradient magnitudes :math:`|\nabla u_\sigma|` in some planes of one frame.

    Parameters
    ----------
    image, spacing, axes, channel_axis, mask, labels, impulses
        As in `diffuse`; only the planes and their surroundings are read. Values that are not
        finite and voxels outside mask and labels are left out.
    sigma
        Standard deviation of the Gaussian that smooths the image first [length].
    frame
        Index along the axes that do not diffuse (time, position); default the middle.
    cancel
        Event that ends the computation with `Cancelled` when it is set.

    Returns
    -------
    Gradients
        Sample from at most 7 planes of 512 × 512 voxels, evenly spread over the frame.

    Raises
    ------
    ValueError
        As `diffuse`, and for values whose squares overflow.
    Cancelled
        When ``cancel`` was set.
    """
    recipe, geometry = (
        RecipeFields(Linear(), 0.0, nan="mask", impulses=impulses),
        Geometry(spacing, axes, channel_axis),
    )
    problem = unread_problem(image, recipe, geometry, Domain(mask, labels))
    return sample_gradients(problem, sigma, frame, cancel)


def conductance(
    image: Any,
    model: Model,
    *,
    region: Sequence[AxisIndex] | None = None,
    spacing: float | Sequence[float] = 1.0,
    axes: Sequence[int] | None = None,
    channel_axis: int | None = None,
    mask: Any = None,
    labels: Any = None,
    nan: str = "raise",
    impulses: str = "keep",
    cancel: CancelEvent | None = None,
) -> FloatArray:
    r"""Compute the diffusivity g at the voxels of an image, at the start of a run of the model.

    g is 1 where the model smooths freely, and 0 where it preserves an edge. With total variation, g
    exceeds 1 in flat regions. The classic Perona-Malik model has one g per face; the map shows g of
    the gradient magnitude. For a tensor model, the map shows the smallest diffusivity. Other
    parameters and the errors are those of `diffuse`.

    Parameters
    ----------
    region
        An integer or a slice for every axis of the image, as in ``image[region]``; default the
        whole image. Only the region and its surroundings are read.
    cancel
        Event that ends the computation with `Cancelled` when it is set.

    Returns
    -------
    numpy.ndarray
        Shape of ``image[region]`` without the channel axis; 0 outside mask and labels, and where
        the image is not finite.
    """
    recipe = RecipeFields(model, 0.0, nan=nan, impulses=impulses)
    geometry = Geometry(spacing, axes, channel_axis)
    problem = unread_problem(image, recipe, geometry, Domain(mask, labels))
    return conductance_map(problem, region, cancel)


def coherence(
    image: Any,
    model: Model,
    *,
    region: Sequence[AxisIndex] | None = None,
    spacing: float | Sequence[float] = 1.0,
    axes: Sequence[int] | None = None,
    channel_axis: int | None = None,
    mask: Any = None,
    labels: Any = None,
    nan: str = "raise",
    impulses: str = "keep",
    cancel: CancelEvent | None = None,
) -> FloatArray:
    r"""Compute the coherence :math:`1 - \lambda_{min}/\lambda_{max}` of the diffusion tensor.

    It is 0 where the model smooths equally in all directions, and near 1 where it smooths along a
    line or a sheet and hardly across it. Parameters and errors are those of `conductance`. A model
    without a diffusion tensor raises a ValueError.

    Returns
    -------
    numpy.ndarray
        Shape of ``image[region]`` without the channel axis; 0 outside mask and labels, and where
        the image is not finite.
    """
    recipe = RecipeFields(model, 0.0, nan=nan, impulses=impulses)
    geometry = Geometry(spacing, axes, channel_axis)
    problem = unread_problem(image, recipe, geometry, Domain(mask, labels))
    return coherence_map(problem, region, cancel)


def directions(
    image: Any,
    model: Model,
    *,
    spacing: float | Sequence[float] = 1.0,
    axes: Sequence[int] | None = None,
    channel_axis: int | None = None,
    mask: Any = None,
    labels: Any = None,
    nan: str = "raise",
    impulses: str = "keep",
    cancel: CancelEvent | None = None,
) -> Directions:
    """Sample the directions of strongest smoothing: eigenvectors of the largest diffusivity.

    If two directions have equal diffusivity, as within a sheet, the one in which the image changes
    less is returned. Parameters and errors are those of `conductance`. A model without a diffusion
    tensor raises a ValueError.

    Returns
    -------
    Directions
        Directions at equal distances within each plane of a volume. There are at most 100 000, or
        one per plane if a volume has more planes. Voxels outside mask and labels, or with a
        coherence below 0.05, have none.
    """
    recipe = RecipeFields(model, 0.0, nan=nan, impulses=impulses)
    geometry = Geometry(spacing, axes, channel_axis)
    return sample_directions(make_problem(image, recipe, geometry, Domain(mask, labels)), cancel)


def integration_error(
    image: Any,
    model: Model,
    *,
    time: float,
    spacing: float | Sequence[float] = 1.0,
    axes: Sequence[int] | None = None,
    channel_axis: int | None = None,
    scheme: str | Scheme = "auto",
    tolerance: float = 1e-3,
    strict: bool = False,
    impulses: str = "keep",
    largest: int = 64,
) -> float:
    r"""Estimate the error of the time integration of a run, as a share of the intensity range.

    A central patch of the middle frame is filtered with the steps of the run, and again with every
    step halved (Richardson extrapolation). The values must be finite. Other parameters and the
    errors are those of `diffuse`.

    Parameters
    ----------
    largest
        Largest number of voxels of the patch along each axis.

    Returns
    -------
    float
        Root mean square error divided by the range (99.9th minus 0.1th percentile) of the patch; 0
        for the exact scheme and for constant images. It is not a bound: where halved steps do not
        converge (the classic model, long times), it is the distance between the two runs.
    """
    recipe = RecipeFields(
        model, time, scheme=scheme, tolerance=tolerance, strict=strict, impulses=impulses
    )
    geometry = Geometry(spacing, axes, channel_axis)
    return time_integration_error(make_problem(image, recipe, geometry), largest)
