r"""What a model returns: the operator A(u) of the diffusion equation, made from local features.

.. math:: u_t = \operatorname{div}(g \, \nabla u)

with :math:`g` constant, evaluated on each face from the difference across it or from the whole
gradient, or given at the voxels as a number or a tensor; and the motion of level sets by their
curvature. Beside the operators stand the features they are made from, and the smoothing.
"""

from __future__ import annotations

from napari_diffusion.operators.curvature import LevelSetCurvature
from napari_diffusion.operators.diffusivity import CODES, LINEAR, Diffusivity
from napari_diffusion.operators.divergence import (
    ConstantDiffusivity,
    FaceDiffusivity,
    GradientDiffusivity,
    VoxelDiffusivity,
)
from napari_diffusion.operators.features import Features
from napari_diffusion.operators.tensor import DiffusionTensor

Operator = (
    ConstantDiffusivity
    | FaceDiffusivity
    | VoxelDiffusivity
    | GradientDiffusivity
    | LevelSetCurvature
    | DiffusionTensor
)
#: Operators that are made from features at the voxels.
VoxelOperator = VoxelDiffusivity | GradientDiffusivity | LevelSetCurvature

__all__ = [
    "CODES",
    "LINEAR",
    "ConstantDiffusivity",
    "DiffusionTensor",
    "Diffusivity",
    "FaceDiffusivity",
    "Features",
    "GradientDiffusivity",
    "LevelSetCurvature",
    "Operator",
    "VoxelDiffusivity",
    "VoxelOperator",
]
