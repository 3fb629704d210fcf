"""Presets: filters of other programs, with their parameters, as recipes in our units.

Each function takes the parameters of the other program, under their names there, and returns a
`Recipe` for an image. Where the voxel size is not 1, the recipe is in its unit. `Recipe.remarks`
say what differs from the other program. On the command line, `from_text` reads the same:
``--as itk-gradient:conductance=3,iterations=5``.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from napari_diffusion.core.errors import shown
from napari_diffusion.core.geometry import Geometry
from napari_diffusion.core.parameters import Parameter, parameters
from napari_diffusion.engine.recipe import Recipe
from napari_diffusion.presets.base import Preset
from napari_diffusion.presets.itk import ITKCurvature, ITKCurvatureFlow, ITKGradient
from napari_diffusion.presets.neighbours import DIPlib, MedPy, OpenCV

__all__ = [
    "BUILTIN",
    "Preset",
    "diplib",
    "from_text",
    "itk_curvature",
    "itk_curvature_flow",
    "itk_gradient",
    "medpy",
    "opencv",
]

#: The filters of other programs, in menu order.
BUILTIN: tuple[type[Preset], ...] = (
    ITKGradient,
    ITKCurvature,
    ITKCurvatureFlow,
    MedPy,
    DIPlib,
    OpenCV,
)

_TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def itk_gradient(
    image: Any,
    conductance: float = 3.0,
    iterations: int = 5,
    time_step: float = 0.125,
    *,
    spacing: float | Sequence[float] = 1.0,
    axes: Sequence[int] | None = None,
    channel_axis: int | None = None,
    unit: str = "pixel",
) -> Recipe:
    r"""Convert the gradient anisotropic diffusion of ITK, SimpleITK, 3D Slicer and ANTs.

    .. math:: \kappa = c\,\sqrt{\langle|\nabla u|^2\rangle}, \qquad T = n\,\tau\,h

    Parameters
    ----------
    image
        Image to be filtered; its gradients are measured.
    conductance, iterations, time_step
        c, n and :math:`\tau` of ITK. The defaults are those of SimpleITK.
    spacing, axes, channel_axis
        As in `napari_diffusion.diffuse`. h is the geometric mean of the voxel sizes.
    unit
        Unit of the voxel size, such as ``"micrometer"``.

    Returns
    -------
    Recipe
        `Recipe.remarks` say what differs.

    Raises
    ------
    TypeError, ValueError
        As `napari_diffusion.diffuse`.

    Examples
    --------
    >>> import numpy as np
    >>> import napari_diffusion as nd
    >>> stack = np.random.default_rng(0).normal(100, 10, (8, 32, 32))
    >>> recipe = nd.presets.itk_gradient(stack, conductance=2.0, spacing=(2.0, 0.5, 0.5))
    >>> smooth = nd.diffuse(stack, recipe)
    """
    geometry = Geometry(spacing, axes, channel_axis)
    return ITKGradient(conductance, iterations, time_step).recipe(image, geometry, unit)


def itk_curvature(
    image: Any,
    conductance: float = 3.0,
    iterations: int = 5,
    time_step: float = 0.0625,
    *,
    spacing: float | Sequence[float] = 1.0,
    axes: Sequence[int] | None = None,
    channel_axis: int | None = None,
    unit: str = "pixel",
) -> Recipe:
    """Convert the curvature anisotropic diffusion of ITK; parameters are those of `itk_gradient`.

    The model is `ModifiedCurvature`, with the threshold and the time of `itk_gradient`.
    """
    geometry = Geometry(spacing, axes, channel_axis)
    return ITKCurvature(conductance, iterations, time_step).recipe(image, geometry, unit)


def itk_curvature_flow(
    image: Any,
    time_step: float = 0.05,
    iterations: int = 5,
    *,
    spacing: float | Sequence[float] = 1.0,
    axes: Sequence[int] | None = None,
    channel_axis: int | None = None,
    unit: str = "pixel",
) -> Recipe:
    r"""Convert the curvature flow of ITK: `MeanCurvature`, :math:`T = n\,\tau`.

    ITK uses the true voxel size here, so that ``time_step`` is in length². Other parameters are
    those of `itk_gradient`.
    """
    geometry = Geometry(spacing, axes, channel_axis)
    return ITKCurvatureFlow(time_step, iterations).recipe(image, geometry, unit)


def medpy(
    image: Any,
    niter: int = 1,
    kappa: float = 50.0,
    gamma: float = 0.1,
    voxelspacing: bool = False,
    option: int = 1,
    *,
    spacing: float | Sequence[float] = 1.0,
    axes: Sequence[int] | None = None,
    channel_axis: int | None = None,
    unit: str = "pixel",
) -> Recipe:
    r"""Convert ``anisotropic_diffusion`` of MedPy.

    .. math:: \kappa = a_i K/h, \qquad T = n\,\gamma\,b_i h^2, \qquad
       a = \left(\sqrt{1/2},\ 1,\ \sqrt{2/5}\right), \quad b = \left(1, 1, \tfrac12\right)

    for the options i = 1, 2 and 3. With ``voxelspacing``, T has the factor h in place of h².

    Parameters
    ----------
    image
        Image to be filtered.
    niter, kappa, gamma, option
        n, K, :math:`\gamma` and i of MedPy, with its defaults.
    voxelspacing
        Whether MedPy is given the voxel size, as its argument of this name.
    spacing, axes, channel_axis, unit
        As in `itk_gradient`.

    Returns
    -------
    Recipe
        It takes the steps of MedPy if they are stable.

    Raises
    ------
    TypeError, ValueError
        As `napari_diffusion.diffuse`.
    """
    geometry = Geometry(spacing, axes, channel_axis)
    return MedPy(niter, kappa, gamma, voxelspacing, option).recipe(image, geometry, unit)


def diplib(
    image: Any,
    iterations: int = 5,
    k: float = 10.0,
    step: float = 0.25,
    g: str = "Gauss",
    *,
    spacing: float | Sequence[float] = 1.0,
    axes: Sequence[int] | None = None,
    channel_axis: int | None = None,
    unit: str = "pixel",
) -> Recipe:
    r"""Convert ``PeronaMalikDiffusion`` of DIPlib.

    .. math:: \kappa = a_g K/h, \qquad T = n\,\lambda\,h^2, \qquad
       a = \left(\sqrt{1/2},\ 1,\ 1,\ \sqrt{1/5}\right)

    Parameters
    ----------
    image
        Image to be filtered.
    iterations, k, step
        n, K and :math:`\lambda` of DIPlib, with its defaults.
    g
        ``"Gauss"``, ``"quadratic"``, ``"exponential"`` or ``"Tukey"``. The exponential is a
        function here, which Python can run and no file can hold. ``RobustAnisotropicDiffusion``
        is ``"Tukey"``, with its ``sigma`` as ``k``.
    spacing, axes, channel_axis, unit
        As in `itk_gradient`.

    Returns
    -------
    Recipe
        It takes the steps of DIPlib if they are stable.

    Raises
    ------
    TypeError, ValueError
        As `napari_diffusion.diffuse`.
    """
    geometry = Geometry(spacing, axes, channel_axis)
    return DIPlib(iterations, k, step, g).recipe(image, geometry, unit)


def opencv(
    image: Any,
    alpha: float = 0.1,
    k: float = 0.02,
    niters: int = 10,
    *,
    spacing: float | Sequence[float] = 1.0,
    axes: Sequence[int] | None = None,
    channel_axis: int | None = None,
    unit: str = "pixel",
) -> Recipe:
    r"""Convert ``ximgproc.anisotropicDiffusion`` of OpenCV, for planes and colour planes.

    .. math:: \kappa = 255\,K/(\sqrt2\,h), \qquad T = 3\,n\,\alpha\,h^2

    Parameters
    ----------
    image
        Image to be filtered, with two diffusing axes.
    alpha, k, niters
        :math:`\alpha`, K and n of OpenCV, which has no defaults.
    spacing, axes, channel_axis, unit
        As in `itk_gradient`.

    Returns
    -------
    Recipe
        The agreement is near: OpenCV has other neighbours, and rounds at every iteration.

    Raises
    ------
    TypeError, ValueError
        As `napari_diffusion.diffuse`, and for another number of diffusing axes.
    """
    geometry = Geometry(spacing, axes, channel_axis)
    return OpenCV(alpha, k, niters).recipe(image, geometry, unit)


def from_text(text: str) -> Preset:
    """Return the preset of a text such as ``itk-gradient:conductance=3,iterations=5``.

    Parameters that are not named have their defaults.

    Raises
    ------
    TypeError, ValueError
        For another name or parameter, and for a value out of bounds.
    """
    name, _, rest = text.partition(":")
    kinds = {kind.name: kind for kind in BUILTIN}
    kind = kinds.get(name.strip().lower().replace("_", "-"))
    if kind is None:
        raise ValueError(f"There is no filter {shown(name.strip())}; known are {', '.join(kinds)}.")
    declared = {p.name: p for p in parameters(kind)}
    values: dict[str, Any] = {}
    for entry in filter(None, (part.strip() for part in rest.split(","))):
        key, sign, value = (part.strip() for part in entry.partition("="))
        parameter = declared.get(key.lower().replace("-", "_"))
        if parameter is None or not sign:
            raise ValueError(
                f"{kind.name} has the parameters {', '.join(declared)}, as in "
                f"{kind.name}:{next(iter(declared))}={next(iter(declared.values())).default}; "
                f"got {shown(entry)}."
            )
        if parameter.name in values:
            raise ValueError(f"{kind.name}: {parameter.name} is given twice.")
        values[parameter.name] = _value(parameter, value)
    return kind(**values)


def _value(parameter: Parameter, text: str) -> Any:
    """Return the value of a parameter; text that is none is left for its check to refuse."""
    if parameter.choices is not None:
        same = [choice for choice in parameter.choices if choice.lower() == text.lower()]
        return same[0] if same else text
    if parameter.type is bool:
        return _TRUTH.get(text.lower(), text)
    for kind in (parameter.type, float):
        with suppress(ValueError):
            return kind(text)
    return text
