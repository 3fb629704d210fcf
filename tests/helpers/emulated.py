"""The emulation of a graphics card by the processor: PoCL, which the tests install on Linux."""

import platform
import sys

import pytest

from napari_diffusion.backends.devices import devices

#: A part of the name of its platform, by which runs name it.
NAME = "portable"
#: Its wheel exists for this system and processor only.
EXISTS = sys.platform == "linux" and platform.machine() == "x86_64"

needs_emulation = pytest.mark.skipif(not EXISTS, reason="PoCL has a wheel for Linux x86_64 only")


def emulation():
    """Return the emulated device; it is missing only where it cannot exist."""
    emulated = [device for device in devices() if NAME in device.platform.lower()]
    assert emulated, "the extra 'test' installs pocl-binary-distribution here"
    return emulated[0]
