"""A model that is declared or built wrongly is refused in words that say what to change."""

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest

import napari_diffusion as nd
from napari_diffusion import models
from napari_diffusion.models.base import Model, check_declaration, param
from napari_diffusion.operators import VoxelDiffusivity
from napari_diffusion.testing import check_model, laws
from napari_diffusion.testing.cases import named


@dataclass(frozen=True, kw_only=True)
class Rational(Model):
    """The regularised model of Perona and Malik, the base of the faulty ones."""

    name, title, summary = "rational", "Rational", "Smooths."
    kappa: float = param(10.0, "Threshold.", unit="intensity/length", gt=0, suggest="threshold")

    def g(self, f):
        return 1 / (1 + f.grad2(1.0) / self.kappa**2)

    def operator(self, f):
        return VoxelDiffusivity(self.g(f))


class Undecorated(Rational):
    """The decorator is missing."""

    sigma: float = param(1.0, "Smoothing.", unit="length", ge=0)


@dataclass(frozen=True, kw_only=True)
class Undeclared(Rational):
    """A field is a plain number."""

    sigma: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Untitled(Model):
    """The texts of the menus are missing."""

    name = "untitled"


@dataclass(frozen=True, kw_only=True)
class Misnamed(Model):
    """The method has another name."""

    name, title, summary = "misnamed", "Misnamed", "Smooths."

    def operate(self, f):
        return None


@dataclass(frozen=True, kw_only=True)
class Misspelt(Rational):
    """The estimator has a wrong letter."""

    kappa: float = param(10.0, "Threshold.", unit="intensity/length", gt=0, suggest="treshold")


class ReturnsAnArray(Rational):
    def operator(self, f):
        return self.g(f)


class ReturnsNothing(Rational):
    def operator(self, f):
        VoxelDiffusivity(self.g(f))


class ReturnsOneNumber(Rational):
    def operator(self, f):
        return VoxelDiffusivity(0.5)


class ReturnsAllChannels(Rational):
    def operator(self, f):
        return VoxelDiffusivity(np.ones(f.u.shape, f.u.dtype))


class Backward(Rational):
    """Forward-and-backward diffusion (Gilboa, Sochen and Zeevi 2002): g is negative at edges."""

    def g(self, f):
        s = np.sqrt(f.grad2(1.0)) / self.kappa
        return 1 / (1 + s**4) - 0.5 / (1 + ((s - 3) / 0.5) ** 4)


DECLARED_WRONGLY = {
    Undecorated: "Undecorated needs the line @dataclass(frozen=True, kw_only=True)",
    Undeclared: "Undeclared: the field 'sigma' is not declared by param()",
    Untitled: "Untitled needs the class attribute 'title', a text",
    Misnamed: "Misnamed has no method 'operator'",
}
BUILT_WRONGLY = {
    Misspelt: "suggest='treshold' of kappa names no estimator; the estimators are threshold, ",
    ReturnsAnArray: "ReturnsAnArray.operator must return an operator .* got ndarray",
    ReturnsNothing: "ReturnsNothing.operator must return an operator .* got NoneType",
    ReturnsOneNumber: r"values of shape \(\) on a slab of shape \(3, 1, 3\)",
    ReturnsAllChannels: r"values of shape \(1, 3, 1, 3\) on a slab of shape \(3, 1, 3\)",
}


@pytest.mark.parametrize("kind", DECLARED_WRONGLY, ids=lambda kind: kind.__name__)
def test_a_wrong_declaration_is_named_by_the_check_and_by_the_registry(kind):
    message = DECLARED_WRONGLY[kind]
    for check, error in ((check_declaration, TypeError), (models.REGISTRY._check, TypeError)):
        with pytest.raises(error) as caught:
            check(kind)
        assert str(caught.value) == message
    with pytest.raises(AssertionError) as caught:
        check_model(kind())
    assert str(caught.value) == message


@pytest.mark.parametrize("kind", BUILT_WRONGLY, ids=lambda kind: kind.__name__)
def test_a_wrong_operator_or_estimator_is_named(kind):
    with pytest.raises(AssertionError, match=BUILT_WRONGLY[kind]):
        check_model(kind())


def test_a_run_names_a_wrong_operator_too():
    with pytest.raises(TypeError, match=r"ReturnsAnArray\.operator must return an operator"):
        nd.diffuse(np.zeros((5, 6)), ReturnsAnArray(), time=1.0)


def test_a_model_that_leaves_the_range_is_named_with_the_statement_of_the_law():
    with pytest.raises(AssertionError) as caught:
        check_model(Backward())
    message = " ".join(str(caught.value).split())
    assert message.startswith("Backward breaks the law extrema_are_kept on Case(shape=(24, 21)")
    assert "all values stay within the range of the input, up to rounding. minimum " in message


def test_declarations_of_all_models_are_right():
    for kind in models.BUILTIN:
        check_declaration(kind)
        laws._check_declaration(kind())


def test_an_error_of_any_kind_breaks_a_law_and_is_named():
    law = SimpleNamespace(__name__="law", __doc__="Values are\n    kept.\n\n    More.")
    with pytest.raises(AssertionError) as caught, named("Model", law, " in 2-D"):
        raise ZeroDivisionError("division by zero")
    assert str(caught.value) == (
        "Model breaks the law law in 2-D: Values are kept. ZeroDivisionError: division by zero"
    )
