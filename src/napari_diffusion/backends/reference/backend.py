"""The reference backend: the NumPy kernels under the names of `backends.base.Backend`."""

from __future__ import annotations

from napari_diffusion.backends.base import Backend
from napari_diffusion.backends.reference import (
    features,
    fourth_order,
    min_max,
    selling,
    sheets,
    stages,
    tensor,
)


class ReferenceBackend(Backend):
    """NumPy kernels for any number of axes; their docstrings specify both backends."""

    name = "reference"

    def tensor_bytes(self, axes: int) -> int:
        """One float32 per stored entry."""
        return 2 * axes * (axes + 1)

    def scratch_planes(self, height: int, is_direct: bool) -> int:
        """NumPy's temporary arrays for a slab."""
        return 5 * height if is_direct else 6 * (height + 2)

    diffusivity = staticmethod(stages.diffusivity)
    step = staticmethod(stages.step)
    gradient_step = staticmethod(stages.gradient_step)
    min_max = staticmethod(min_max.min_max)
    fourth_order_step = staticmethod(fourth_order.fourth_order_step)
    curvature2 = staticmethod(fourth_order.curvature2)
    face_diffusivities = staticmethod(stages.face_diffusivities)
    face_step = staticmethod(stages.face_step)
    grad2 = staticmethod(features.grad2)
    neighbours = staticmethod(features.neighbours)
    reciprocals = staticmethod(features.reciprocals)
    smooth = staticmethod(features.smooth)
    smooth_differences = staticmethod(features.smooth_differences)
    count_invalid = staticmethod(features.count_invalid)
    structure = staticmethod(features.structure)
    derivative = staticmethod(tensor.derivative)
    eigenvalues = staticmethod(tensor.eigenvalues)
    vessels = staticmethod(tensor.vessels)
    sheets = staticmethod(sheets.sheets)
    tensors = staticmethod(tensor.tensors)
    cell_tensors = staticmethod(tensor.cell_tensors)
    average = staticmethod(tensor.average)
    compose = staticmethod(tensor.compose)
    tensor_step = staticmethod(tensor.tensor_step)
    incident = staticmethod(selling.incident)
    selling_step = staticmethod(selling.selling_step)
