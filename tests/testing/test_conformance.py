"""The built-in schemes, backends and formats pass the public checks; faulty ones do not."""

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest

from napari_diffusion import backends, io, schemes
from napari_diffusion.backends.base import Backend
from napari_diffusion.backends.numba.backend import NumbaBackend
from napari_diffusion.backends.reference.backend import ReferenceBackend
from napari_diffusion.core.parameters import param
from napari_diffusion.schemes import Explicit, Scheme, Stage
from napari_diffusion.schemes.base import check_declaration
from napari_diffusion.testing import backends as backend_laws
from napari_diffusion.testing import check_backend, check_format, check_scheme
from napari_diffusion.testing import schemes as scheme_laws

SCHEMES = [kind() for kind in schemes.BUILTIN] + [
    schemes.RKL2(supersteps=4), schemes.FSI(cycles=3), schemes.Midpoint(cycles=3),
    schemes.Extrapolated(cycles=3)
]  # fmt: skip


@pytest.mark.parametrize("law", scheme_laws.LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_scheme_satisfies_the_law(scheme, law):
    law(scheme)


def test_compiled_backend_satisfies_the_laws():
    check_backend("compiled")


@pytest.mark.parametrize("law", backend_laws.LAWS[:3], ids=lambda law: law.__name__)
def test_reference_backend_satisfies_the_law(law):
    law("reference")


@pytest.mark.parametrize("name", [file_format.name for file_format in io.FORMATS])
def test_format_satisfies_the_laws(name, tmp_path, caplog):
    check_format(name, tmp_path)


@dataclass(frozen=True)
class Faulty(Scheme):
    """Explicit Euler with a fault that a law must find."""

    name = "faulty"
    order = 1
    monotone = True
    fault: str = param("", "Name of the fault.", choices=("", "early", "coarse", "order", "option"))

    def stages(self, time, max_step, tolerance):
        step = (1.5 if self.fault == "coarse" else 0.8) * max_step
        count = math.ceil(time / step - 1e-9)
        end = 0.97 * time if self.fault == "early" else time
        return (Stage(0.0, end / count, end * (k + 1) / count) for k in range(count))


@dataclass(frozen=True)
class Growing(Scheme):
    """Explicit steps: a short one first, then steps beyond the stable one."""

    name = "growing"
    order = 1
    monotone = True
    factor: float = param(1.6, "Length of a later step, in stable steps.", gt=0)

    def stages(self, time, max_step, tolerance):
        if time == 0:
            return
        first = min(0.1 * max_step, time)
        count = math.ceil((time - first) / (self.factor * max_step) - 1e-9)
        yield Stage(0.0, first, first)
        for k in range(1, count + 1):
            yield Stage(0.0, (time - first) / count, first + (time - first) * k / count)


@dataclass(frozen=True)
class TooShort(Explicit):
    """Euler steps that are a tenth shorter than the times that they report."""

    name = "too-short"

    def stages(self, time, max_step, tolerance):
        for stage in super().stages(time, max_step, tolerance):
            yield stage._replace(step=0.9 * stage.step)


@dataclass(frozen=True)
class ClaimsSecondOrder(Faulty):
    """Euler steps that claim to be of second order, and whose number cannot be set."""

    name = "claims-second-order"
    order = 2


@dataclass(frozen=True)
class SecondOrder(Explicit):
    """Euler steps that claim to be of second order."""

    name = "second-order"
    order = 2

    def with_steps(self, time, count):
        return SecondOrder(step=time / count)


@dataclass(frozen=True)
class Overshooting(schemes.RKL2):
    """Supersteps, which overshoot beside an impulse, with a claim of the extremum principle."""

    name = "overshooting"
    monotone = True


@dataclass(frozen=True)
class WithoutUnit(Scheme):
    """Euler steps whose length is declared without its unit."""

    name = "without-unit"
    order = 1
    monotone = True
    step: float = param(0.05, "Length of a step.", gt=0)

    def stages(self, time, max_step, tolerance):
        return Explicit(step=self.step).stages(time, max_step, tolerance)


@dataclass(frozen=True)
class Near(schemes.Exact):
    """The exact solution with a reach that is too small."""

    name = "near"

    def reach(self, *arguments):
        return [reach // 2 for reach in super().reach(*arguments)]


@pytest.mark.parametrize(
    ("scheme", "law"),
    [
        (Faulty("early"), "stages_end_at_the_time"),
        (Faulty("coarse"), "steps_are_stable"),
        (Overshooting(supersteps=1), "extrema_are_kept: .* values of Linear leave the range by"),
        (Growing(), "steps_are_stable: .*stage 2 of "),
        (TooShort(), "steps_cover_the_time: .* for the time 10, it decays as after the time 9$"),
        (SecondOrder(), "order_is_as_declared: .* order 1.00, declared 2"),
        (ClaimsSecondOrder(), "order_is_as_declared: .* order 1.0., declared 2"),
        (WithoutUnit(), "units_are_true"),
        (Near(), "passes_and_blocks_are_exact"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_a_faulty_scheme_breaks_a_law(scheme, law, monkeypatch):
    builtin = (*schemes.BUILTIN, type(scheme))
    monkeypatch.setattr(schemes.REGISTRY, "builtin", builtin)
    with pytest.raises(AssertionError, match=f"breaks the law {law}"):
        check_scheme(scheme)


class Undecorated(Scheme):
    """The decorator is missing."""

    name = "undecorated"
    order = 1
    monotone = True
    step: float = param(0.05, "Length of a step.", unit="length^2", gt=0)

    def stages(self, time, max_step, tolerance):
        return ()


@dataclass(frozen=True)
class Nameless(Scheme):
    """The attributes are missing."""


@dataclass(frozen=True)
class Undeclared(Explicit):
    """An option is a plain number."""

    factor: float = 2.0


@dataclass(frozen=True)
class WithoutStages(Scheme):
    """The method is missing."""

    name = "without-stages"
    order = 1
    monotone = True


@dataclass(frozen=True)
class WithoutSolve(Explicit):
    """A direct scheme that does not compute its stages."""

    is_direct = True


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Undecorated, r"Undecorated needs the line @dataclass\(frozen=True\)"),
        (Nameless, "Nameless needs the class attribute 'name', a text"),
        (Undeclared, r"Undeclared: the field 'factor' is not declared by param\(\)"),
        (WithoutStages, "WithoutStages has no method 'stages'"),
        (WithoutSolve, "WithoutSolve has no method 'solve'"),
    ],
)
def test_an_incomplete_scheme_is_refused_in_words_that_say_what_is_missing(kind, message):
    with pytest.raises(TypeError, match=message):
        check_declaration(kind)
    with pytest.raises(
        AssertionError, match=f"breaks the law declaration_is_complete: .*{message}"
    ):
        check_scheme(kind())


def test_a_scheme_that_is_not_registered_is_found():
    with pytest.raises(AssertionError, match=r"options_survive_a_recipe: .*no scheme named"):
        check_scheme(Faulty())


class Inexact(NumbaBackend):
    """The compiled backend with a Gaussian that is slightly too strong."""

    name = "inexact"

    def smooth(self, u, lo, hi, taps, out):
        super().smooth(u, lo, hi, taps, out)
        out *= out.dtype.type(1.0001)


class SinglePrecision(ReferenceBackend):
    """The reference backend with eigenvalues in float32."""

    name = "single-precision"

    def eigenvalues(self, matrix):
        return ReferenceBackend.eigenvalues(matrix).astype(np.float32)


class Incomplete(Backend):
    """A backend that does not inherit the kernels that it lacks."""

    name = "incomplete"
    smooth = staticmethod(ReferenceBackend.smooth)


class OtherArguments(ReferenceBackend):
    """The reference backend with a kernel of other arguments."""

    name = "other-arguments"

    def smooth(self, u, taps, out):
        pass


class SlabDependent(NumbaBackend):
    """The compiled backend with a rounding error in the first plane of every slab."""

    name = "slab-dependent"

    def step(self, u, out, lo, hi, *arguments):
        super().step(u, out, lo, hi, *arguments)
        out[:, lo] = np.nextafter(out[:, lo], out.dtype.type(np.inf))


@pytest.mark.parametrize(
    ("kind", "law"),
    [
        (Inexact, "results_are_those_of_the_reference: .* differs most is smooth, by 0.0001 "),
        (SinglePrecision, "results_are_those_of_the_reference: .* is eigenvalues, .* not float64"),
        (SlabDependent, "bits_do_not_depend_on_the_cut: "),
        (Incomplete, "kernels_are_complete: .* it lacks tensor_bytes, diffusivity, step"),
        (OtherArguments, "kernels_are_complete: .* smooth must accept the arguments u, lo, hi"),
    ],
)
def test_a_faulty_backend_breaks_a_law(kind, law, monkeypatch):
    monkeypatch.setattr(backends.REGISTRY, "builtin", (*backends.REGISTRY.builtin, kind))
    # The other laws, which the faulty backend keeps, run for the compiled one above.
    monkeypatch.setattr(backend_laws, "LAWS", (getattr(backend_laws, law.split(":")[0]),))
    with pytest.raises(AssertionError, match=f"breaks the law {law}"):
        check_backend(kind.name)


def _read_wrongly(change):
    numpy_format = next(entry for entry in io.FORMATS if entry.name == "NumPy")

    def read(path):
        volume = numpy_format.read(path)
        return replace(volume, data=change(np.array(volume.data)))

    return replace(numpy_format, name="faulty", suffixes=(".faulty",), read=read)


@pytest.mark.parametrize(
    ("file_format", "law"),
    [
        (_read_wrongly(lambda data: data[::-1]), "values_survive"),
        (_read_wrongly(lambda data: np.round(data.astype(float) / 7) * 7), "values_survive"),
    ],
    ids=["flipped", "rounded"],
)
def test_a_faulty_format_breaks_a_law(file_format, law, monkeypatch, tmp_path):
    monkeypatch.setattr(io.REGISTRY, "builtin", (*io.FORMATS, file_format))
    with pytest.raises(AssertionError, match=f"breaks the law {law}"):
        check_format("faulty", tmp_path)


def test_a_format_that_reads_half_files_breaks_a_law(monkeypatch, tmp_path):
    def read(path):
        data = np.frombuffer(path.read_bytes(), np.float64)
        return io.Volume(data.reshape(3, -1, 4), "QYX", (None, 1.0, 1.0), format="raw", path=path)

    def write(path, data, like, recipe):
        path.write_bytes(data.tobytes())

    def storable(dtype, like, suffix):
        if dtype != np.float64 or len(like.axes) != 3:
            raise ValueError("only stacks of float64")
        return dtype

    raw = io.Format("raw", (".raw",), read, write, storable)
    monkeypatch.setattr(io.REGISTRY, "builtin", (*io.FORMATS, raw))
    with pytest.raises(AssertionError, match="breaks the law damage_is_refused"):
        check_format("raw", tmp_path)


def test_unknown_names_are_refused(tmp_path):
    with pytest.raises(AssertionError, match="There is no backend named 'nothing'"):
        check_backend("nothing")
    with pytest.raises(ValueError, match="There is no file format named 'nothing'"):
        check_format("nothing", tmp_path)
