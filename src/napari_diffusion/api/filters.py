"""Filters: the run of a model on an image, its plan, and the preview of a part."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from napari_diffusion.core.arrays import Image
from napari_diffusion.core.cancellation import CancelEvent
from napari_diffusion.core.geometry import Domain
from napari_diffusion.engine import in_memory
from napari_diffusion.engine.execution import Execution
from napari_diffusion.engine.halo_block import AxisIndex
from napari_diffusion.engine.in_memory import State
from napari_diffusion.engine.inputs.arguments import problem_of, recipe_of, refuse_doubles
from napari_diffusion.engine.planner import Plan, make_plan
from napari_diffusion.engine.problem import unread_problem
from napari_diffusion.engine.recipe import Recipe
from napari_diffusion.engine.recipe_fields import RecipeFields
from napari_diffusion.models import Model
from napari_diffusion.previewing.request import PreviewRequest
from napari_diffusion.schemes import Scheme

_P = ParamSpec("_P")
_R = TypeVar("_R")


def _without_doubles(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Refuse options beside a recipe, also those that are given with their default value."""

    @wraps(function)
    def checked(*arguments: _P.args, **options: _P.kwargs) -> _R:
        model = arguments[1] if len(arguments) > 1 else options.get("model")
        if isinstance(model, RecipeFields):
            refuse_doubles([name for name, value in options.items() if value is not None])
        return function(*arguments, **options)

    return checked


@_without_doubles
def diffuse(
    image: Any,
    model: Model | Recipe,
    *,
    time: float | None = None,
    spacing: float | Sequence[float] | None = None,
    axes: Sequence[int] | None = None,
    channel_axis: int | None = None,
    mask: Any = None,
    labels: Any = None,
    guide: Any = None,
    nan: str = "raise",
    impulses: str = "keep",
    scheme: str | Scheme = "auto",
    tolerance: float = 1e-3,
    strict: bool = False,
    fidelity_length: float | None = None,
    guide_weight: float = 1.0,
    preserve_dtype: bool = False,
    transform: str = "none",
    gain: float = 1.0,
    offset: float = 0.0,
    read_noise: float = 0.0,
    threads: int | None = None,
    backend: str | None = None,
    device: str | None = None,
    progress: Callable[[float], object] | None = None,
    cancel: CancelEvent | None = None,
    channel_weights: Sequence[float | None] | None = None,
) -> Image:
    r"""Filter an image by diffusion.

    .. math:: u_t = \operatorname{div}(D(u)\,\nabla u) \;[\,+\,(f - u)/\ell^2\,],
       \qquad u(0) = f = \text{image}, \qquad \partial_n u = 0 \text{ on the border}

    Parameters
    ----------
    image
        Array of any number of axes; bool, integer, float16, 32 or 64. NumPy, memory-mapped, dask
        and zarr arrays are read one frame at a time. The image is never written to.
    model
        The diffusion model, for example ``nd.PeronaMalik(kappa=12.0)``, or a recipe. A recipe holds
        the options of a run, which must then be left out.
    time
        Diffusion time T. Linear diffusion over T is a Gaussian of sigma = sqrt(2T). Its unit is the
        square of that of ``spacing``. With ``fidelity_length``, the default is the time of the
        steady state, ``1.5 * fidelity_length**2 * log(1/tolerance)``. Otherwise it is required,
        except with a recipe.
    spacing
        Voxel size [length], one number or one per diffusing axis in the order of ``axes``. Default
        1, or the voxel size of the recipe.
    axes
        The axes that diffuse; default all but ``channel_axis``. The filter runs separately for each
        index of the other axes, so time points are never mixed.
    channel_axis
        Axis of the channels, which share one diffusivity.
    mask, labels
        Bool mask, or integer labels with 0 outside. No flux passes between voxels of different
        regions, and nothing changes outside. Shape of the diffusing axes, or of the image without
        the channel axis.
    guide
        Another image on the same grid, from which the model takes its edges and directions: a
        cleaner channel, another MRI contrast, the mean over time. Thresholds are then in its
        intensities. Shape of the image, with or without its channel axis, or of the diffusing axes.
    nan
        NaN and infinite values: "raise" refuses them, "mask" keeps them and diffuses around them.
    impulses
        Hot and dead voxels, far outside the noise around them: "keep" smooths them as they are,
        "mask" first replaces them from their neighbours.
    scheme
        Scheme of the time integration; "auto" takes the fastest one that is accurate enough. It
        may be an object such as ``nd.schemes.Explicit(step=0.1)``.
    tolerance
        Target error of the time integration, as a share of the intensity range.
    strict
        Guarantee the extremum principle: no value leaves the range of the input.
    fidelity_length
        Fidelity length l: the source (f - u)/l² holds the result u to the input f. Structures much
        wider than l keep their intensity. By default, there is no source.
    guide_weight
        With a guide: share of the squared gradients that comes from the guide; the rest comes from
        the image.
    preserve_dtype
        Round and saturate to the integer type of the input; by default integers become floats.
    transform
        Transform of the intensities during the run: "anscombe" makes photon noise uniform, with a
        standard deviation of 1. Thresholds of the model are then in units of the noise.
    gain
        With a transform: intensity per photon.
    offset
        With a transform: intensity without light.
    read_noise
        With a transform: standard deviation of the noise without light.
    threads
        Number of threads, default all processors. The result does not depend on it.
    backend
        Name of a backend, such as ``compiled`` or ``reference``; default the fastest one that can
        run.
    device
        Device: ``cpu``, ``gpu`` for a graphics card, or a part of its name; default the processor,
        or a card that has proven equal and faster. See `devices`.
    progress
        Called with the completed share of the run, from 0 to 1, in the calling thread.
    cancel
        Event, such as `threading.Event`; the run ends with `Cancelled` when it is set.
    channel_weights
        Weight of each channel's gradient, for example 1/noise²; scaled to sum one. Default equal. A
        channel with the weight ``None``, such as the opacity of RGBA, is copied.

    Returns
    -------
    numpy.ndarray
        New array of the input's shape. Float input keeps its dtype; see ``preserve_dtype`` for
        other input.

    Raises
    ------
    TypeError, ValueError, MemoryError
        For an invalid argument or too little memory; the message suggests a remedy.
    Cancelled
        When ``cancel`` was set.

    See Also
    --------
    suggest : Choose model, parameters and time from the noise.

    Examples
    --------
    >>> import numpy as np
    >>> import napari_diffusion as nd
    >>> stack = np.random.default_rng(0).normal(100, 10, (8, 32, 32))  # z, y, x
    >>> model = nd.PeronaMalik(kappa=12.0)
    >>> smooth = nd.diffuse(stack, model, time=4.0, spacing=(2.0, 0.5, 0.5))
    """
    problem = problem_of(
        image,
        model,
        Domain(mask, labels, guide=guide),
        (spacing, axes, channel_axis, channel_weights),
        time,
        scheme,
        tolerance,
        strict,
        nan,
        impulses,
        fidelity_length,
        guide_weight,
        preserve_dtype,
        transform,
        gain,
        offset,
        read_noise,
    )
    return in_memory.run(problem, Execution(threads, backend, device), progress, cancel)


@_without_doubles
def evolve(
    image: Any,
    model: Model | Recipe,
    *,
    time: float | None = None,
    spacing: float | Sequence[float] | None = None,
    axes: Sequence[int] | None = None,
    channel_axis: int | None = None,
    mask: Any = None,
    labels: Any = None,
    guide: Any = None,
    nan: str = "raise",
    impulses: str = "keep",
    scheme: str | Scheme = "auto",
    tolerance: float = 1e-3,
    strict: bool = False,
    fidelity_length: float | None = None,
    guide_weight: float = 1.0,
    preserve_dtype: bool = False,
    transform: str = "none",
    gain: float = 1.0,
    offset: float = 0.0,
    read_noise: float = 0.0,
    threads: int | None = None,
    backend: str | None = None,
    device: str | None = None,
    progress: Callable[[float], object] | None = None,
    cancel: CancelEvent | None = None,
    channel_weights: Sequence[float | None] | None = None,
) -> Generator[State, None, None]:
    """Filter in steps, and yield a `State` after every step (or superstep) of every frame.

    Parameters and errors are those of `diffuse`. The arguments are checked at the call, before the
    first step. Reading ``state.image`` costs one copy; a state that is not read costs nothing.

    Yields
    ------
    State
        Diffusion time, completed share, frame number and image.
    """
    problem = problem_of(
        image,
        model,
        Domain(mask, labels, guide=guide),
        (spacing, axes, channel_axis, channel_weights),
        time,
        scheme,
        tolerance,
        strict,
        nan,
        impulses,
        fidelity_length,
        guide_weight,
        preserve_dtype,
        transform,
        gain,
        offset,
        read_noise,
    )
    return in_memory.evolve(problem, Execution(threads, backend, device), progress, cancel)


@_without_doubles
def plan(
    image: Any,
    model: Model | Recipe,
    *,
    time: float | None = None,
    spacing: float | Sequence[float] | None = None,
    axes: Sequence[int] | None = None,
    channel_axis: int | None = None,
    mask: Any = None,
    labels: Any = None,
    guide: Any = None,
    nan: str = "raise",
    impulses: str = "keep",
    scheme: str | Scheme = "auto",
    tolerance: float = 1e-3,
    strict: bool = False,
    fidelity_length: float | None = None,
    guide_weight: float = 1.0,
    preserve_dtype: bool = False,
    transform: str = "none",
    gain: float = 1.0,
    offset: float = 0.0,
    read_noise: float = 0.0,
    threads: int | None = None,
    backend: str | None = None,
    device: str | None = None,
    channel_weights: Sequence[float | None] | None = None,
) -> Plan:
    """Return the plan of a run of `diffuse`, without reading the image.

    Parameters and errors are those of `diffuse`.

    Returns
    -------
    Plan
        Scheme, stages, halo [voxel], predicted peak memory [bytes] and stable step [length²].
    """
    problem = problem_of(
        image,
        model,
        Domain(mask, labels, guide=guide),
        (spacing, axes, channel_axis, channel_weights),
        time,
        scheme,
        tolerance,
        strict,
        nan,
        impulses,
        fidelity_length,
        guide_weight,
        preserve_dtype,
        transform,
        gain,
        offset,
        read_noise,
    )
    return make_plan(problem, Execution(threads, backend, device))


@_without_doubles
def preview(
    image: Any,
    model: Model | Recipe,
    *,
    region: Sequence[AxisIndex],
    time: float | None = None,
    spacing: float | Sequence[float] | None = None,
    axes: Sequence[int] | None = None,
    channel_axis: int | None = None,
    mask: Any = None,
    labels: Any = None,
    guide: Any = None,
    nan: str = "raise",
    impulses: str = "keep",
    scheme: str | Scheme = "auto",
    tolerance: float = 1e-3,
    strict: bool = False,
    fidelity_length: float | None = None,
    guide_weight: float = 1.0,
    preserve_dtype: bool = False,
    transform: str = "none",
    gain: float = 1.0,
    offset: float = 0.0,
    read_noise: float = 0.0,
    threads: int | None = None,
    backend: str | None = None,
    device: str | None = None,
    progress: Callable[[float], object] | None = None,
    cancel: CancelEvent | None = None,
    channel_weights: Sequence[float | None] | None = None,
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
    domain = Domain(mask, labels, guide=guide)
    recipe = recipe_of(
        model,
        domain,
        time,
        scheme,
        tolerance,
        strict,
        nan,
        impulses,
        fidelity_length,
        guide_weight,
        preserve_dtype,
        transform,
        gain,
        offset,
        read_noise,
    )
    geometry = recipe.geometry_with(spacing, axes, channel_axis, channel_weights)
    problem = unread_problem(image, recipe, geometry, domain)
    return PreviewRequest(problem, region, Execution(threads, backend, device), draft).run(
        progress, cancel
    )
