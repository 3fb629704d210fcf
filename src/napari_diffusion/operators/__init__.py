r"""Diffusion operators, the local features that they are built from, and Gaussian smoothing.

A model returns the operator :math:`A(u)` of its equation :math:`u_t = A(u)\,u`, in most models

.. math:: u_t = \operatorname{div}(g \, \nabla u).

The diffusivity :math:`g` is constant, evaluated at each face, or given at the voxels as a scalar
or a tensor. At a face it depends on the difference across the face or on the whole gradient. One
operator, `LevelSetCurvature`, moves level sets by their curvature.
"""

from __future__ import annotations

from napari_diffusion.operators.base import Operator
from napari_diffusion.operators.curvature import (
    LevelSetCurvature,
    OneSidedCurvature,
    one_sided_curvature,
)
from napari_diffusion.operators.diffusivity import CODES, LINEAR, Diffusivity
from napari_diffusion.operators.divergence import (
    ConstantDiffusivity,
    CurvatureDiffusivity,
    FaceDiffusivity,
    GradientDiffusivity,
    VoxelDiffusivity,
)
from napari_diffusion.operators.features import Features
from napari_diffusion.operators.stepper import StageContext, Stepper
from napari_diffusion.operators.tensor import DiffusionTensor

__all__ = [
    "CODES",
    "LINEAR",
    "ConstantDiffusivity",
    "CurvatureDiffusivity",
    "DiffusionTensor",
    "Diffusivity",
    "FaceDiffusivity",
    "Features",
    "GradientDiffusivity",
    "LevelSetCurvature",
    "OneSidedCurvature",
    "Operator",
    "StageContext",
    "Stepper",
    "VoxelDiffusivity",
    "one_sided_curvature",
]
