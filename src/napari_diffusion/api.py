"""The public functions: one flat signature each, passed on to the layers below."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any

from napari_diffusion.core.arrays import FloatArray, Image
from napari_diffusion.core.cancellation import CancelEvent
from napari_diffusion.core.geometry import Domain, Geometry
from napari_diffusion.diagnostics.accuracy import time_integration_error
from napari_diffusion.diagnostics.conductance import conductance_map
from napari_diffusion.diagnostics.gradients import Gradients, sample_gradients
from napari_diffusion.diagnostics.orientation import Directions, coherence_map, sample_directions
from napari_diffusion.engine.halo_block import AxisIndex
from napari_diffusion.engine.in_memory import State
from napari_diffusion.engine.options import Execution, Integration
from napari_diffusion.engine.planner import Plan
from napari_diffusion.engine.problem import make_problem
from napari_diffusion.engine.request import Request
from napari_diffusion.estimation.options import SuggestionOptions
from napari_diffusion.estimation.suggestion import Suggestion, suggest_for
from napari_diffusion.models import Model
from napari_diffusion.previewing.request import PreviewRequest
from napari_diffusion.schemes import Scheme


def diffuse(
    image: Any,
    model: Model,
    *,
    time: float,
    spacing: float | Sequence[float] = 1.0,
    axes: Sequence[int] | None = None,
    channel_axis: int | None = None,
    mask: Any = None,
    labels: Any = None,
    nan: str = "raise",
    scheme: str | Scheme = "auto",
    tolerance: float = 1e-3,
    strict: bool = False,
    preserve_dtype: bool = False,
    threads: int | None = None,
    backend: str | None = None,
    progress: Callable[[float], object] | None = None,
    cancel: CancelEvent | None = None,
    channel_weights: Sequence[float] | None = None,
) -> Image:
    r"""Filter an image by diffusion.

    .. math:: u_t = \operatorname{div}(D(u)\,\nabla u), \qquad u(0) = \text{image},
       \qquad \partial_n u = 0 \text{ on the border}

    Parameters
    ----------
    image
        Array of any number of axes; bool, integer, float16, 32 or 64. NumPy, memory-mapped, dask
        and zarr arrays are read one frame at a time. The image is never written to.
    model
        The diffusion model, for example ``nd.PeronaMalik(kappa=12.0)``.
    time
        Diffusion time T [length²]. Linear diffusion over T is a Gaussian of
        :math:`\sigma = \sqrt{2T}` [length].
    spacing
        Voxel size [length], one number or one per diffusing axis in the order of ``axes``.
    axes
        The axes that diffuse; default all but ``channel_axis``. The filter runs separately for each
        index of the other axes, so time points are never mixed.
    channel_axis
        Axis of the channels, which share one diffusivity.
    mask, labels
        Bool mask, or integer labels with 0 outside. No flux passes between voxels of different
        regions, and nothing changes outside. Shape of the diffusing axes, or of the image without
        the channel axis.
    nan
        ``"raise"`` refuses NaN and infinite values; ``"mask"`` keeps them and diffuses around them.
    scheme
        ``"auto"``, a name, or an object such as ``nd.schemes.Explicit(step=0.1)``.
    tolerance
        Target error of the time integration, as a share of the intensity range.
    strict
        Guarantee the extremum principle: no value leaves the range of the input.
    preserve_dtype
        Round and saturate to the input's integer dtype. By default integers and bool come back as
        float32 in their own units.
    threads
        Number of threads, default all processors. The result does not depend on it.
    backend
        ``"compiled"``, ``"reference"``, or ``None`` for the faster one that can run.
    progress
        Called with the completed share of the run, from 0 to 1, in the calling thread.
    cancel
        Event, such as `threading.Event`; the run ends with `Cancelled` when it is set.
    channel_weights
        Weight of each channel's gradient, for example 1/noise²; scaled to sum one. Default equal.

    Returns
    -------
    numpy.ndarray
        New array of the input's shape. Float input keeps its dtype; see ``preserve_dtype`` for
        other input.

    Raises
    ------
    TypeError, ValueError, MemoryError
        For an invalid argument or too little memory; the message says what would work.
    Cancelled
        When ``cancel`` was set.
    """
    where = Geometry(spacing, axes, channel_axis), Domain(mask, labels, nan)
    how = Integration(time, scheme, tolerance, strict), Execution(threads, backend)
    request = Request(image, model, *where, *how, preserve_dtype, channel_weights)
    return request.result(progress, cancel)


def evolve(
    image: Any,
    model: Model,
    *,
    time: float,
    spacing: float | Sequence[float] = 1.0,
    axes: Sequence[int] | None = None,
    channel_axis: int | None = None,
    mask: Any = None,
    labels: Any = None,
    nan: str = "raise",
    scheme: str | Scheme = "auto",
    tolerance: float = 1e-3,
    strict: bool = False,
    preserve_dtype: bool = False,
    threads: int | None = None,
    backend: str | None = None,
    progress: Callable[[float], object] | None = None,
    cancel: CancelEvent | None = None,
    channel_weights: Sequence[float] | None = None,
) -> Generator[State, None, None]:
    """Filter step by step, and yield a `State` after every step (or superstep) of every frame.

    Parameters and errors are those of `diffuse`. The arguments are checked at the call, before the
    first step. Reading ``state.image`` costs one copy; a state that is not read costs nothing.

    Yields
    ------
    State
        Diffusion time, completed share, frame number and image.
    """
    where = Geometry(spacing, axes, channel_axis), Domain(mask, labels, nan)
    how = Integration(time, scheme, tolerance, strict), Execution(threads, backend)
    request = Request(image, model, *where, *how, preserve_dtype, channel_weights)
    return request.evolve(progress, cancel)


def plan(
    image: Any,
    model: Model,
    *,
    time: float,
    spacing: float | Sequence[float] = 1.0,
    axes: Sequence[int] | None = None,
    channel_axis: int | None = None,
    mask: Any = None,
    labels: Any = None,
    nan: str = "raise",
    scheme: str | Scheme = "auto",
    tolerance: float = 1e-3,
    strict: bool = False,
    preserve_dtype: bool = False,
    threads: int | None = None,
    backend: str | None = None,
    channel_weights: Sequence[float] | None = None,
) -> Plan:
    """Return the plan of a run of `diffuse`, without reading the image.

    Parameters and errors are those of `diffuse`.

    Returns
    -------
    Plan
        Scheme, stages, halo [voxel], predicted peak memory [bytes] and stable step [length²].
    """
    where = Geometry(spacing, axes, channel_axis), Domain(mask, labels, nan)
    how = Integration(time, scheme, tolerance, strict), Execution(threads, backend)
    return Request(image, model, *where, *how, preserve_dtype, channel_weights).plan


def preview(
    image: Any,
    model: Model,
    *,
    region: Sequence[AxisIndex],
    time: float,
    spacing: float | Sequence[float] = 1.0,
    axes: Sequence[int] | None = None,
    channel_axis: int | None = None,
    mask: Any = None,
    labels: Any = None,
    nan: str = "raise",
    scheme: str | Scheme = "auto",
    tolerance: float = 1e-3,
    strict: bool = False,
    preserve_dtype: bool = False,
    threads: int | None = None,
    backend: str | None = None,
    progress: Callable[[float], object] | None = None,
    cancel: CancelEvent | None = None,
    channel_weights: Sequence[float] | None = None,
    draft: bool = False,
) -> Image:
    r"""Filter a part of an image.

    The result equals ``diffuse(image, ...)[region]`` within 1e-3 of the intensity range. Only the
    part and its surroundings are read, so the image may be lazy and larger than the memory. Other
    parameters are those of `diffuse`, for the whole image.

    Parameters
    ----------
    region
        An integer or a slice for every axis of the image, as in ``image[region]``.
    draft
        Compute a faster approximation, in a third to a hundredth of the time. At 2.5 voxel² its
        root mean square error is at most 2 % of the range, or more if thresholds are several times
        the noise. The surroundings are a fifth as wide, and diffusivities are limited to 25
        (`Model.with_max_diffusivity`). Two cycles of `schemes.FSI` are used if they need fewer
        stages.

    Returns
    -------
    numpy.ndarray
        The part, in the dtype that `diffuse` returns.

    Raises
    ------
    TypeError, ValueError, MemoryError, Cancelled
        As `diffuse`; ``nan="raise"`` refuses only a NaN in the part or its surroundings.
    IndexError
        For a region outside the image.

    Notes
    -----
    With a mask, labels or NaN, a slightly different algorithm smooths the image before a gradient.
    In a lazy image or lazy labels, only region borders near the part are detected. Distant borders
    may then change the fourth digit.
    """
    where = Geometry(spacing, axes, channel_axis), Domain(mask, labels, nan)
    how = Integration(time, scheme, tolerance, strict), Execution(threads, backend)
    request = Request(image, model, *where, *how, preserve_dtype, channel_weights)
    return PreviewRequest(request, region, draft).run(progress, cancel)


def suggest(
    image: Any,
    model: Model | str = "auto",
    *,
    spacing: float | Sequence[float] = 1.0,
    axes: Sequence[int] | None = None,
    channel_axis: int | None = None,
    mask: Any = None,
    labels: Any = None,
    noise: str | None = None,
    criterion: str = "sure",
    fwhm: float | None = None,
    noise_reduction: float | None = None,
    fixed: Sequence[str] = (),
    thorough: bool = True,
    others: Sequence[Any] = (),
    unit: str = "pixel",
) -> Suggestion:
    r"""Choose a model's parameters and a diffusion time by the estimated error of the result.

    The noise is measured first (`estimation.noise`). The parameters and the time minimise the
    estimated mean squared error on a few representative patches of the image (SURE: Stein 1981; by
    Monte Carlo: Ramani, Blu & Unser 2008). If structures gain less than 1.5 dB and lose detail,
    only candidates that remove mainly noise are considered (docs/develop/decisions.md). The
    computing time is bounded, and the result is reproducible.

    Parameters
    ----------
    image, spacing, axes, channel_axis, mask, labels
        As in `diffuse`. Values that are not finite are ignored. Frames share one set of parameters.
    model
        Model whose parameters are chosen; ``"auto"`` chooses the model too. Parameters without an
        estimator (``suggest=`` of `models.param`) keep their value.
    noise
        Kind of noise, ``"gaussian"``, ``"rician"``, ``"poisson"`` or ``"speckle"``; by default it
        is recognised from the image.
    criterion
        Quantity to minimise: ``"sure"``, or, for white noise of any kind, the ``"decorrelation"``
        of result and residual, or ``"j-invariance"``, the prediction error at hidden voxels.
    fwhm
        Full width at half maximum [length] of the equivalent Gaussian; this fixes the time.
    noise_reduction
        Factor > 1 by which the standard deviation of the noise falls; this fixes the time.
    fixed
        Names of parameters that keep their value in ``model``.
    thorough
        ``False`` sets the parameters by rule of thumb (threshold: a third of the noise per voxel;
        scale: half a voxel) and chooses only the time. It takes a tenth of the computing time; the
        result is about 0.5 dB worse.
    others
        Further images with the same axes and voxel size that share the choice.
    unit
        Name of the unit of length in the report.

    Returns
    -------
    Suggestion
        Unpacks to ``model, time``; its ``report`` explains the measurements and the choice.

    Raises
    ------
    TypeError, ValueError
        As `diffuse`; also when the image shows no noise (constant, binary, too few voxels).

    Examples
    --------
    >>> import numpy as np
    >>> import napari_diffusion as nd
    >>> edge = 50 * (np.indices((64, 64)).sum(0) > 60)
    >>> noisy = edge + np.random.default_rng(0).normal(0, 5, (64, 64))
    >>> model, time = nd.suggest(noisy, nd.PeronaMalik())
    """
    geometry = Geometry(spacing, axes, channel_axis)
    problems = [make_problem(image, geometry, Domain(mask, labels, nan="mask"))]
    problems += [make_problem(other, geometry, Domain(nan="mask")) for other in others]
    options = SuggestionOptions(noise, criterion, fwhm, noise_reduction, fixed, thorough, unit)
    return suggest_for(problems, model, options)


def gradients(
    image: Any,
    *,
    sigma: float = 0.0,
    spacing: float | Sequence[float] = 1.0,
    axes: Sequence[int] | None = None,
    channel_axis: int | None = None,
    mask: Any = None,
    labels: Any = None,
    frame: Sequence[int] | None = None,
    cancel: CancelEvent | None = None,
) -> Gradients:
    r"""Sample the gradient magnitudes :math:`|\nabla u_\sigma|` in some planes of one frame.

    Parameters
    ----------
    image, spacing, axes, channel_axis, mask, labels
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
    geometry, domain = Geometry(spacing, axes, channel_axis), Domain(mask, labels)
    return sample_gradients(image, geometry, domain, sigma, frame, cancel)


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
    geometry, domain = Geometry(spacing, axes, channel_axis), Domain(mask, labels, nan)
    return conductance_map(image, model, geometry, domain, region, cancel)


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
    geometry, domain = Geometry(spacing, axes, channel_axis), Domain(mask, labels, nan)
    return coherence_map(image, model, geometry, domain, region, cancel)


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
    geometry, domain = Geometry(spacing, axes, channel_axis), Domain(mask, labels, nan)
    return sample_directions(image, model, geometry, domain, cancel)


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
    where = Geometry(spacing, axes, channel_axis), Domain()
    how = Integration(time, scheme, tolerance, strict), Execution()
    return time_integration_error(Request(image, model, *where, *how), largest)
