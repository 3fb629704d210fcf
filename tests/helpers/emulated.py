"""The emulation of a graphics card by the processor: PoCL, which the tests install on Linux."""

import platform
import sys
import warnings

import pytest

import napari_diffusion as nd
from napari_diffusion.backends.devices import devices
from napari_diffusion.backends.opencl import preludes, queue

#: A part of the name of its platform, by which runs name it.
NAME = "portable"
#: Its wheel exists for this system and processor only.
EXISTS = sys.platform == "linux" and platform.machine() == "x86_64"

#: The model of tests that need any model.
MODEL = nd.PeronaMalik(kappa=20.0)

needs_emulation = pytest.mark.skipif(not EXISTS, reason="PoCL has a wheel for Linux x86_64 only")


def emulation():
    """Return the emulated device; it is missing only where it cannot exist."""
    emulated = [device for device in devices() if NAME in device.platform.lower()]
    assert emulated, "the extra 'test' installs pocl-binary-distribution here"
    return emulated[0]


def run_on(image, device, model=MODEL):
    """Result on a device, and what was said."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = nd.diffuse(image, model, time=2.0, device=device)
    return result, [str(warning.message) for warning in caught]


def changed_sources(monkeypatch, old, new):
    """Plant a change into the kernels."""
    original = preludes.source

    def source(name, dtype, prelude=preludes.OPENCL):
        text = original(name, dtype, prelude)
        assert old in text or name in ("", "tensors")
        return text.replace(old, new)

    monkeypatch.setattr(queue, "source", source)
