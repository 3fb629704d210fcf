"""Execution of a run: how it is computed. Threads and exact devices change no bit of a result."""

from __future__ import annotations

from dataclasses import dataclass

from napari_diffusion.backends import checked_name
from napari_diffusion.backends.devices import checked_device_name
from napari_diffusion.core.parameters import check_parameters, param
from napari_diffusion.core.resources import cpu_count


@dataclass(frozen=True)
class Execution:
    """How a run is computed.

    Attributes
    ----------
    threads
        Number of threads; ``None`` for all processors.
    backend
        Name of a backend; ``None`` for the fastest one that can run.
    device
        Name of a device, see `napari_diffusion.backends.devices.get_device`; ``None`` for the
        processor, or for a card that has its bits and is faster, as earlier runs with its name
        have shown.
    """

    threads: int | None = param(
        None,
        "Number of threads, default all processors. The result does not depend on it.",
        ge=1,
        label="Threads",
    )
    backend: str | None = param(
        None,
        "Name of a backend, such as ``compiled`` or ``reference``; default the fastest one "
        "that can run.",
        convert=checked_name,
        hidden=True,
    )
    device: str | None = param(
        None,
        "Device: ``cpu``, ``gpu`` for a graphics card, or a part of its name; default the "
        "processor, or a card that has proven equal and faster.",
        convert=checked_device_name,
        label="Device",
        preference=True,
    )

    def __post_init__(self) -> None:
        """Check the fields."""
        check_parameters(self)

    @property
    def thread_count(self) -> int:
        """Number of threads of the run."""
        return cpu_count() if self.threads is None else self.threads
