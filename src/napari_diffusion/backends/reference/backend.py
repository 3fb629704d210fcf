"""The reference backend: the NumPy kernels under the names of `backends.protocol.Backend`."""

from __future__ import annotations

from napari_diffusion.backends.reference import features, selling, stages, tensor


class ReferenceBackend:
    """NumPy kernels for any number of axes; their docstrings specify both backends."""

    name = "reference"

    diffusivity = staticmethod(stages.diffusivity)
    step = staticmethod(stages.step)
    gradient_step = staticmethod(stages.gradient_step)
    grad2 = staticmethod(features.grad2)
    neighbours = staticmethod(features.neighbours)
    smooth = staticmethod(features.smooth)
    count_invalid = staticmethod(features.count_invalid)
    structure = staticmethod(features.structure)
    derivative = staticmethod(tensor.derivative)
    eigenvalues = staticmethod(tensor.eigenvalues)
    vessels = staticmethod(tensor.vessels)
    tensors = staticmethod(tensor.tensors)
    compose = staticmethod(tensor.compose)
    tensor_step = staticmethod(tensor.tensor_step)
    incident = staticmethod(selling.incident)
    selling_step = staticmethod(selling.selling_step)
