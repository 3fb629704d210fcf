"""Sheetness against its formula, and the effect of membrane-enhancing diffusion."""

import itertools

import numpy as np
import pytest

import napari_diffusion as nd
from helpers.tubes import sheet, tube
from napari_diffusion.backends.reference.sheets import SLOPE_WEIGHT, sheetness
from napari_diffusion.backends.reference.tensor import eigenvalues, entries

#: Normals along an axis, in a plane, along the diagonal of the voxel, and oblique.
NORMALS = [(0, 0, 1), (0, 1, 1), (1, 1, 1), (1, 2, 4.3), (1, 0.3, 0.1)]
SHAPE = (33, 49, 49)
MARGIN = (slice(6, -6),) * 3
CONTRAST = 100.0
normals = pytest.mark.parametrize("normal", NORMALS, ids=str)


def rotation(n, seed=3):
    """Random orthonormal matrix."""
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(n, n)))[0]


def sheetness_of(curvatures, slopes, gamma=2.0, bright=True):
    """Sheetness for curvatures and slopes along orthonormal directions that are rotated at random.

    The largest curvature is along the first direction.
    """
    q = rotation(len(curvatures))
    matrix = q @ np.diag(curvatures) @ q.T
    hessian = np.array([matrix[e] for e in entries(len(curvatures))])[:, None]
    return sheetness(hessian, eigenvalues(hessian), (q @ slopes)[:, None], gamma, bright)[0]


@pytest.mark.parametrize("bright", [True, False])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_sheetness_has_the_stated_values(n, bright):
    """Plates, tubes, balls, the other sign, and slopes across and within a plate."""
    sign = -1.0 if bright else 1.0
    for ratio, slope in itertools.product((0.0, 0.3, -0.5), (0.0, 0.2)):
        if n == 1 and (ratio or slope):
            continue
        curvatures = sign * 5.0 * np.array([1.0, ratio, 0.1 * ratio])[:n]
        # A slope along the normal, however steep, does not count.
        slopes = 5.0 * np.array([0.7, slope, 0.0])[:n]
        strength = 1 - np.exp(-np.square(curvatures).sum() / 8)
        form = (1 - ratio**2) * np.exp(-2 * ratio**2 - SLOPE_WEIGHT * slope**2)
        value = sheetness_of(curvatures, slopes, bright=bright)
        assert value == pytest.approx(form * strength, rel=1e-9)
        assert sheetness_of(-curvatures, slopes, bright=bright) == 0
    if n > 1:
        equal = sign * 5.0 * np.array([1.0, 1.0, 0.0])[:n]
        assert sheetness_of(equal, np.zeros(n), bright=bright) == pytest.approx(0, abs=1e-12)


def test_dark_membranes_are_bright_ones_of_the_negative():
    image = np.random.default_rng(0).normal(100, 20, (9, 12, 11))
    bright = nd.diffuse(image, nd.MembraneEnhancing(), time=1.0)
    dark = nd.diffuse(-image, nd.MembraneEnhancing(polarity="dark"), time=1.0)
    np.testing.assert_allclose(dark, -bright, rtol=0, atol=1e-10)


def perforated(normal):
    """Sheet of which a fifth of the voxels is missing, and its middle layer."""
    phantom = sheet(1.0, normal, SHAPE)
    present = np.random.default_rng(5).random(SHAPE) > 0.2
    return CONTRAST * phantom.clean * present, (phantom.distance <= 0.5)[MARGIN], present[MARGIN]


@normals
def test_holes_of_a_sheet_close(normal):
    """A fifth is missing: the sheet keeps four fifths, and no voxel of it is below half of them."""
    image, layer, present = perforated(normal)
    assert (image[MARGIN][layer & ~present] == 0).all()
    result = nd.diffuse(image, nd.MembraneEnhancing(), time=4.0)[MARGIN]
    whole = CONTRAST * sheet(1.0, normal, SHAPE).clean[MARGIN][layer].mean()
    assert result[layer].mean() == pytest.approx(0.8 * whole, rel=0.1)
    assert result[layer].min() > 0.5 * 0.8 * whole


def test_other_tensor_models_smear_the_sheet():
    """Vessel- and edge-enhancing diffusion leave less than 0.6 of its contrast."""
    image, layer, _ = perforated((1, 2, 4.3))
    for model in (nd.VesselEnhancing(), nd.EdgeEnhancing()):
        result = nd.diffuse(image, model, time=4.0)[MARGIN]
        assert result[layer].mean() < 0.6 * image[MARGIN][layer].mean()


@normals
@pytest.mark.parametrize("noise", [0.0, 10.0])
def test_sheets_keep_nine_tenths_of_their_contrast(normal, noise):
    """With a standard deviation of one voxel, after four voxel², with noise of a tenth, too."""
    phantom = sheet(1.0, normal, (40, 40, 40))
    image = CONTRAST * phantom.clean
    image += noise * np.random.default_rng(7).normal(size=image.shape)
    result = nd.diffuse(image.astype("f4"), nd.MembraneEnhancing(gamma=10.0), time=4.0)
    assert phantom.kept(result, image) > 0.9


def one_voxel_thick(normal):
    """Share of every voxel that lies within half a voxel of a plane, and the middle layer."""
    unit = np.array(normal) / np.linalg.norm(normal)
    distance = np.tensordot(unit, np.indices(SHAPE) - np.array(SHAPE).reshape(3, 1, 1, 1) // 2, 1)
    parts = (np.arange(5) + 0.5) / 5 - 0.5
    inside = [np.abs(distance + unit @ shift) < 0.5 for shift in itertools.product(parts, repeat=3)]
    return np.mean(inside, 0), np.abs(distance) < 0.5


@normals
def test_sheet_one_voxel_thick_keeps_nine_tenths(normal):
    """After one voxel²; the mean over its middle layer, weighted by the sheet itself."""
    clean, layer = one_voxel_thick(normal)
    model = nd.MembraneEnhancing(gamma=10.0, sigma=0.5, thickest=1.0)
    result = nd.diffuse(CONTRAST * clean, model, time=1.0)
    weights = (clean * layer)[MARGIN]
    assert (result[MARGIN] * weights).sum() > 0.9 * CONTRAST * (clean[MARGIN] * weights).sum()


def assert_like_the_background(image):
    """Check that nearly isotropic diffusion with the diffusivity alpha is all that happens."""
    model = nd.MembraneEnhancing(gamma=10.0)
    expected = nd.diffuse(image, nd.Linear(), time=model.alpha * 4.0)
    result = nd.diffuse(image, model, time=4.0)
    np.testing.assert_allclose(result, expected, rtol=0, atol=0.05 * CONTRAST)
    assert result.max() > 0.97 * expected.max()


@pytest.mark.parametrize("radius", [1.0, 1.5, 2.5])
@pytest.mark.parametrize("direction", [(0, 0, 1), (1, 2, 4.3)], ids=str)
def test_tube_does_not_turn_into_a_sheet(radius, direction):
    assert_like_the_background(CONTRAST * tube(radius, direction).clean)


@pytest.mark.parametrize("radius", [1.5, 2.5])
def test_ball_does_not_turn_into_a_sheet(radius):
    square = np.square(np.indices((31, 31, 31)) - 15.0).sum(0)
    assert_like_the_background(CONTRAST * np.exp(-square / (2 * radius**2)))


def test_line_of_an_image_is_a_membrane_in_section():
    """In 2-D, gaps of a line close, and its contrast stays."""
    x = np.indices((41, 61))
    line = CONTRAST * np.exp(-np.square(x[0] - 20 - 0.3 * (x[1] - 30)) / 2)
    gaps = line * (x[1] % 6 > 0)
    result = nd.diffuse(gaps, nd.MembraneEnhancing(gamma=10.0), time=8.0)
    axis = [(round(20 + 0.3 * (k - 30)), k) for k in range(12, 49)]
    before, after = (np.array([image[p] for p in axis]) for image in (gaps, result))
    assert before.min() == 0
    assert after.min() > 0.6 * CONTRAST


@pytest.mark.parametrize(
    ("shape", "spacing"),
    [((24, 22, 20), (1, 1, 1)), ((9, 22, 24), (4, 1, 1)), ((40, 36), (1, 1)), ((20, 48), (4, 1))],
    ids=str,
)
@pytest.mark.parametrize("polarity", ["bright", "dark"])
def test_steep_slope_is_no_membrane_not_even_at_the_border(shape, spacing, polarity):
    """An affine image is smoothed as by linear diffusion of alpha, which the border alone changes.

    At the border the mirror makes a ridge or a valley of the slope, whose normal is the axis.
    """
    model = nd.MembraneEnhancing(polarity=polarity)
    position = np.indices(shape) * np.reshape(spacing, (-1, *(1,) * len(shape)))
    for slope in itertools.permutations((40.0, 2.0, -3.0)[: len(shape)]):
        image = np.tensordot(slope, position, 1)
        for dtype, tolerance in (("f4", 1e-6), ("f8", 1e-12)):
            own = image.astype(dtype)
            result = nd.diffuse(own, model, time=4.0, spacing=spacing)
            expected = nd.diffuse(own, nd.Linear(), time=4.0 * model.alpha, spacing=spacing)
            near = {"rtol": 0, "atol": tolerance * np.ptp(image) + 2e-5 * 40}
            np.testing.assert_allclose(result, expected, **near)
            middle = tuple(slice(n // 3, -(n // 3)) for n in shape)
            np.testing.assert_allclose(
                result[middle], own[middle], rtol=0, atol=tolerance * np.ptp(image)
            )
