"""The reported integration error is close to the distance from the converged solution."""

import numpy as np
import pytest

import napari_diffusion as nd
from napari_diffusion.schemes import FSI, RKL2, Explicit

PROBLEMS = {
    "2-D short": ((64, 60), (1.0, 1.0), 2.5, "auto"),
    "2-D long": ((64, 60), (1.0, 1.0), 50.0, "auto"),
    "2-D anisotropic": ((40, 60), (2.0, 0.7), 20.0, "auto"),
    "3-D short": ((24, 22, 20), (1.0, 1.0, 1.0), 2.5, "auto"),
    "3-D long": ((24, 22, 20), (1.0, 1.0, 1.0), 30.0, "auto"),
    "3-D thick slices": ((10, 24, 24), (5.0, 1.0, 1.0), 10.0, "auto"),
    "explicit": ((64, 60), (1.0, 1.0), 10.0, Explicit()),
    "8 supersteps": ((64, 60), (1.0, 1.0), 20.0, RKL2(supersteps=8)),
    "fsi": ((64, 60), (1.0, 1.0), 20.0, FSI(cycles=6)),
}


def picture(shape):
    x = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    clean = 60 * (sum(c * c for c in x) < 0.4) + 30 * (np.sin(8 * x[0]) > 0)
    return clean + np.random.default_rng(11).normal(0, 8, shape)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_reported_error_is_close_to_the_true_one(problem):
    """It is at least half and at most ten times the true error."""
    shape, spacing, time, scheme = PROBLEMS[problem]
    image, model = picture(shape), nd.PeronaMalik(kappa=5.0, sigma=1.0)
    options = {"time": time, "spacing": spacing}
    fine = [nd.diffuse(image, model, scheme=RKL2(supersteps=m), **options) for m in (200, 400)]
    limit = (4 * fine[1] - fine[0]) / 3
    extent = np.subtract(*np.percentile(image, [99.9, 0.1]))
    error = nd.diffuse(image, model, scheme=scheme, **options) - limit
    true = np.sqrt(np.mean(error**2)) / extent
    reported = nd.integration_error(image, model, scheme=scheme, **options)
    assert true > 1e-6  # far above rounding
    assert true / 2 <= reported <= 10 * true


def test_error_of_exact_runs_constant_images_and_no_time_is_zero():
    image = picture((20, 20))
    assert nd.integration_error(image, nd.Linear(), time=3.0) == 0
    assert nd.integration_error(image * 0 + 4, nd.PeronaMalik(sigma=1.0), time=3.0) == 0
    assert nd.integration_error(image, nd.PeronaMalik(sigma=1.0), time=0.0) == 0


def test_error_is_independent_of_the_units():
    image, model = picture((40, 40)), nd.PeronaMalik(kappa=5.0, sigma=1.0)
    one = nd.integration_error(image, model, time=10.0)
    scaled_model = nd.PeronaMalik(kappa=2500.0, sigma=2.0)
    scaled = nd.integration_error(image * 1000, scaled_model, time=40.0, spacing=2.0)
    assert scaled == pytest.approx(one, rel=1e-6)  # float64, and a few hundred steps of rounding


def test_error_is_measured_in_the_middle_of_the_middle_frame():
    rng = np.random.default_rng(3)
    stack = rng.normal(0, 10, (3, 90, 90))
    model = nd.PeronaMalik(kappa=5.0, sigma=1.0)
    options = {"time": 5.0, "axes": (1, 2), "largest": 40}
    one = nd.integration_error(stack, model, **options)
    stack[0] = stack[2] = 0
    stack[1, :20] = 1e6
    assert nd.integration_error(stack, model, **options) == one


class FixedSteps(Explicit):
    """Euler steps whose number cannot be set."""

    def with_steps(self, time, count):
        return None


def test_a_scheme_without_a_number_of_steps_is_refused():
    image = np.random.default_rng(0).normal(size=(24, 20))
    with pytest.raises(ValueError, match="has steps of a fixed length"):
        nd.integration_error(image, nd.PeronaMalik(), time=2.0, scheme=FixedSteps(step=0.1))
    assert nd.integration_error(image, nd.Linear(), time=2.0) == 0.0
