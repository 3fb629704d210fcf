"""Entries that another package registers: a model and a scheme, and how they are registered."""

from dataclasses import dataclass
from importlib.metadata import EntryPoint
from math import ceil, sqrt

from napari_diffusion.core import registry
from napari_diffusion.core.stage import Stage
from napari_diffusion.models import Model, param
from napari_diffusion.operators import Diffusivity, VoxelDiffusivity
from napari_diffusion.schemes import Scheme

MODEL, SCHEME = "helpers.entry_points:Foreign", "helpers.entry_points:Relaxed"


@dataclass(frozen=True, kw_only=True)
class Foreign(Model):
    """Regularised Perona-Malik diffusion with other parameters."""

    name = "foreign"
    title = "Foreign"
    summary = "Keeps edges."
    energy: float = param(
        90.0, "Squared edge threshold.", unit="intensity^2/length^2", gt=0, suggest="threshold"
    )
    frequency: float = param(1.5, "Highest frequency that is kept.", unit="1/length", gt=0)

    def operator(self, f):
        g = Diffusivity("rational", sqrt(self.energy))
        return VoxelDiffusivity(f.apply(g, f.grad2(1 / self.frequency)))


@dataclass(frozen=True)
class Relaxed(Scheme):
    """Equal steps of a share of the stable step, and of a largest length."""

    name = "relaxed"
    order = 1
    monotone = True
    share: float = param(0.5, "Share of the stable step.", gt=0, le=1)
    longest: float | None = param(None, "Longest step.", unit="length^2", gt=0)

    def stages(self, time, max_step, tolerance):
        step = min(self.share * max_step, self.longest or max_step)
        count = ceil(time / step)
        return (Stage(0.0, time / count, time * (k + 1) / count) for k in range(count))


def register(monkeypatch, **values):
    """Register one entry point, named "theirs", for each kind, such as ``models``."""

    def entry_points(group):
        kind = group.removeprefix("napari_diffusion.")
        return [EntryPoint("theirs", values[kind], group)] if kind in values else []

    monkeypatch.setattr(registry, "entry_points", entry_points)
