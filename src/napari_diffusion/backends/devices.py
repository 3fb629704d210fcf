"""Graphics cards and other devices that run the kernels, and their names."""

from __future__ import annotations

import warnings
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from napari_diffusion.backends.base import Backend

#: Names of the processor, and of the first graphics card.
PROCESSOR, CARD = "cpu", "gpu"


@dataclass(frozen=True)
class Device:
    """A device that runs the kernels.

    Attributes
    ----------
    name
        Its name, for ``device=``.
    platform
        The driver, such as ``NVIDIA CUDA`` or ``Portable Computing Language``.
    version
        Version of the driver.
    memory
        Size of its memory [bytes].
    is_card
        Whether it is a graphics card, and not the processor under another name.
    has_float64
        Whether it computes in float64.
    has_own_memory
        Whether its memory is not that of the processor.
    """

    name: str
    platform: str
    version: str
    memory: int
    is_card: bool
    has_float64: bool
    _programs: Any = field(repr=False, compare=False)
    has_own_memory: bool = False

    @property
    def is_accurate(self) -> bool:
        """Whether the driver states that it divides and rounds as the processor does."""
        return bool(self._programs.is_accurate)

    @property
    def turn(self) -> AbstractContextManager[object]:
        """Context of one run at a time, for runs that share the memory of the device."""
        turn: AbstractContextManager[object] = self._programs.turn
        return turn

    def renew(self) -> None:
        """Open the device again when it is next used: it has failed."""
        self._programs.renew()

    def kernels(self) -> Backend:
        """Return the kernels with a queue of their own, for one thread.

        Raises
        ------
        DeviceFailed
            If the device cannot be used.
        """
        from napari_diffusion.backends.opencl.backend import OpenCLBackend
        from napari_diffusion.backends.opencl.queue import Queue

        return OpenCLBackend(Queue(self._programs))


def devices() -> tuple[Device, ...]:
    """Return the devices of this machine that can run the filters, besides the processor.

    They need ``pip install "napari-diffusion[gpu]"`` and the ordinary driver of the card. An
    emulation of a card by the processor, such as PoCL, is listed too.

    Returns
    -------
    tuple of Device
        Graphics cards first.
    """
    available, _ = _search()
    return available


@cache
def _search() -> tuple[tuple[Device, ...], str]:
    """Return the devices, and why there are none, as a sentence without a period."""
    if find_spec("pyopencl") is None:
        return (), ('pyopencl is not installed; pip install "napari-diffusion[gpu]" installs it')
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # notes of drivers
            cl: Any = import_module("pyopencl")
            handles = [
                (platform, device)
                for platform in cl.get_platforms()
                for device in platform.get_devices()
            ]
    except Exception as error:  # of a library or a driver
        return (), f"OpenCL finds no driver of a graphics card ({' '.join(str(error).split()):.80})"
    available: list[Device] = []
    for platform, device in handles:
        try:
            available.append(_device(platform, device))
        except Exception:
            continue
    # A card with memory of its own comes before one that shares that of the processor.
    available.sort(key=lambda device: (not device.is_card, not device.has_own_memory))
    available = [
        _numbered(device, available[:number].count(device) + 1)
        for number, device in enumerate(available)
    ]
    return tuple(available), "" if available else "OpenCL finds no driver of a graphics card"


def _numbered(device: Device, number: int) -> Device:
    """Return a device with a name of its own among several cards of one kind."""
    return device if number == 1 else replace(device, name=f"{device.name} ({number})")


def _device(platform: Any, handle: Any) -> Device:
    from napari_diffusion.backends.opencl.queue import Programs

    cl: Any = import_module("pyopencl")
    programs = Programs(handle)
    return Device(
        name=programs.name,
        platform=str(platform.name).strip(),
        version=f"{handle.version} {handle.driver_version}",
        memory=int(handle.global_mem_size),
        is_card=bool(handle.type & cl.device_type.GPU),
        has_float64=programs.has_float64,
        _programs=programs,
        has_own_memory=not handle.host_unified_memory,
    )


def get_device(name: str | None) -> Device | None:
    """Return the device of a name, or ``None`` for the processor.

    Parameters
    ----------
    name
        ``None`` or ``"cpu"`` for the processor, ``"gpu"`` for the first graphics card, or a part of
        the name or platform of a device.

    Raises
    ------
    ValueError
        If there is no such device; the message lists the names.
    """
    if name is None or name.lower() == PROCESSOR:
        return None
    available, reason = _search()
    if reason:
        raise ValueError(f"There is no device named {name!r}: {reason}.")
    if name.lower() == CARD:
        for device in available:
            if device.is_card:
                return device
        others = ", ".join(device.name for device in available)
        raise ValueError(f"This machine has no graphics card with a driver, only {others}.")
    for part in ("name", "platform"):
        fitting = [d for d in available if name.lower() in getattr(d, part).lower()]
        if fitting:
            return min(fitting, key=lambda d: getattr(d, part).lower() != name.lower())
    names = ", ".join([PROCESSOR, CARD, *(device.name for device in available)])
    raise ValueError(f"There is no device named {name!r}; the devices are {names}.")


def checked_device_name(name: Any) -> str:
    """Return the name of a device as given; raises ValueError if there is none of that name."""
    if not isinstance(name, str):
        raise TypeError(f"device must be a name, such as 'gpu', got {type(name).__name__}.")
    get_device(name)
    return name
