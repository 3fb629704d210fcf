"""Reference solutions, written from the equations without any code of the package."""

import math

import numpy as np
import scipy.fft
import scipy.integrate
import scipy.ndimage
from scipy.special import ive

DIFFUSIVITIES = {
    "rational": lambda s: 1 / (1 + s**2),
    "exponential": lambda s: np.exp(-(s**2) / 2),
    "tukey": lambda s: np.maximum(1 - s**2 / 5, 0) ** 2,
    "weickert": lambda s: -np.expm1(-3.31488 / np.maximum(s, 1e-30) ** 8),
    "charbonnier": lambda s: 1 / np.sqrt(1 + s**2),
}


def max_explicit_step(spacing):
    """Return the largest stable explicit step for g <= 1, independently of the package."""
    return 1 / (2 * sum(1 / h**2 for h in spacing))


def mode(shape, waves):
    """Eigenvector of the discrete Laplacian: cosines, which are symmetric about the border."""
    axes = [np.cos(np.pi * k * (np.arange(n) + 0.5) / n) for n, k in zip(shape, waves, strict=True)]
    return np.prod(np.meshgrid(*axes, indexing="ij"), axis=0)


def eigenvalue(shape, spacing, waves):
    """Eigenvalue of `mode` for the negative discrete Laplacian [1/length²]."""
    return sum(
        2 / h**2 * (1 - math.cos(math.pi * k / n))
        for n, h, k in zip(shape, spacing, waves, strict=True)
    )


def noise(shape, seed=1):
    return np.random.default_rng(seed).normal(size=shape)


def step_and_ramp(shape, seed=2):
    """Return an image with a step edge, a ramp and noise; its range is about 130."""
    x = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    return 60.0 * (x[0] + 0.4 * x[-1] > 0.1) + 20 * x[-1] + 5 * noise(shape, seed)


def dense_operator(labels, spacing):
    """Matrix of the Laplacian with walls between labels and around label 0, face by face."""
    index = np.arange(labels.size).reshape(labels.shape)
    matrix = np.zeros((labels.size, labels.size))
    for axis, h in enumerate(spacing):
        near, far = (
            np.take(index, range(*ends), axis).ravel()
            for ends in ((0, labels.shape[axis] - 1), (1, labels.shape[axis]))
        )
        for i, j in zip(near, far, strict=True):
            if labels.flat[i] == labels.flat[j] != 0:
                matrix[[i, j], [i, j]] -= 1 / h**2
                matrix[[i, j], [j, i]] += 1 / h**2
    return matrix


def textbook_step(image, model, step, spacing):
    """One explicit step of Perona-Malik diffusion from the equations, with explicit padding."""
    change = np.zeros_like(image)
    g_voxel = None
    if model.sigma > 0:
        smooth = image
        for axis, h in enumerate(spacing):
            n, radius = image.shape[axis], 40
            taps = ive(np.abs(np.arange(-radius, radius + 1)), (model.sigma / h) ** 2)
            index = np.arange(-radius, n + radius) % (2 * n)
            mirrored = np.take(smooth, np.where(index >= n, 2 * n - 1 - index, index), axis)
            smooth = scipy.ndimage.correlate1d(mirrored, taps, axis)
            smooth = np.take(smooth, range(radius, radius + n), axis)
        s2 = np.zeros_like(image)
        for axis, h in enumerate(spacing):
            width = [(int(i == axis),) * 2 for i in range(image.ndim)]
            d = np.diff(np.pad(smooth, width, mode="edge"), axis=axis) / h
            n = image.shape[axis]
            s2 += (np.take(d, range(n), axis) ** 2 + np.take(d, range(1, n + 1), axis) ** 2) / 2
        g_voxel = DIFFUSIVITIES[model.diffusivity](np.sqrt(s2) / model.kappa)
    for axis, h in enumerate(spacing):
        d = np.diff(image, axis=axis) / h
        n = image.shape[axis]
        if g_voxel is None:
            g = DIFFUSIVITIES[model.diffusivity](np.abs(d) / model.kappa)
        else:
            g = (np.take(g_voxel, range(n - 1), axis) + np.take(g_voxel, range(1, n), axis)) / 2
        width = [(int(i == axis),) * 2 for i in range(image.ndim)]
        change += np.diff(np.pad(g * d, width), axis=axis) / h
    return image + step * change


def smooth_picture(shape):
    """Sum of low cosine modes of a box of fixed size, which is smooth up to the border."""
    total = np.zeros(shape)
    for amplitude, waves in ((30, (1, 1, 1)), (20, (2, 1, 0)), (15, (0, 2, 1)), (8, (2, 3, 1))):
        total += amplitude * mode(shape, waves[: len(shape)])
    return total


def spectral_solution(lengths, picture, model, time, n=32):
    """Solve regularised Perona-Malik diffusion by a cosine series with ``n`` points per axis.

    With 32 points the error is 2e-6 for `smooth_picture` (measured by doubling). Returns a function
    that evaluates the solution at the voxel centres of any grid of the same box.
    """
    shape = (n,) * len(lengths)
    waves = [np.pi * np.arange(n) / length for length in lengths]
    spread = [
        w.reshape([-1 if i == axis else 1 for i in range(len(lengths))])
        for axis, w in enumerate(waves)
    ]
    gauss = np.exp(-(model.sigma**2) / 2 * sum(w**2 for w in spread))

    def derivative(coefficients, axis):
        """Values of the derivative, a sine series along ``axis``."""
        scaled = np.roll(-coefficients * spread[axis], -1, axis)
        other = [i for i in range(len(lengths)) if i != axis]
        values = scipy.fft.idst(scaled, 2, axis=axis)
        return scipy.fft.idctn(values, 2, axes=other) if other else values

    def right_hand_side(t, flat):
        coefficients = flat.reshape(shape)
        gradient = [derivative(coefficients * gauss, axis) for axis in range(len(lengths))]
        g = DIFFUSIVITIES[model.diffusivity](np.sqrt(sum(d**2 for d in gradient)) / model.kappa)
        result = np.zeros(shape)
        for axis in range(len(lengths)):
            flux = g * derivative(coefficients, axis)
            other = [i for i in range(len(lengths)) if i != axis]
            cosines = scipy.fft.dctn(flux, 2, axes=other) if other else flux
            sines = scipy.fft.dst(cosines, 2, axis=axis)
            rolled = np.roll(sines, 1, axis)
            rolled[(slice(None),) * axis + (0,)] = 0
            result += rolled * spread[axis]
        return result.ravel()

    start = scipy.fft.dctn(picture(shape), 2).ravel()
    solved = scipy.integrate.solve_ivp(
        right_hand_side, (0, time), start, "DOP853", rtol=1e-9, atol=1e-7
    )
    final = solved.y[:, -1].reshape(shape)

    def evaluate(grid):
        values = final.copy()
        for axis, points in enumerate(grid):
            basis = np.cos(np.pi * np.outer((np.arange(points) + 0.5) / points, np.arange(n))) / n
            basis[:, 0] /= 2
            values = np.moveaxis(np.tensordot(basis, values, (1, axis)), 0, axis)
        return values

    return evaluate


def directions(axes):
    """24 directions: equal angles over half a turn in 2-D, seeded unit vectors in 3-D."""
    if axes == 2:
        return [np.array([np.cos(a), np.sin(a)]) for a in np.arange(24) * np.pi / 24]
    return [v / np.linalg.norm(v) for v in np.random.default_rng(0).normal(size=(24, 3))]


def contrast_lost(smooth, direction, shape):
    """Share of a modulation along stripes or a tube that ``smooth`` removes.

    It is estimated by least squares in the middle of the image.
    """
    n = len(shape)
    x = np.stack(np.meshgrid(*[np.arange(s) - s / 2 + 0.5 for s in shape], indexing="ij"))
    along = np.tensordot(direction, x, 1)
    modulation = np.cos(2 * np.pi / 16 * along)
    if n == 2:
        structure = 20 * np.cos(2 * np.pi / 8 * (x[0] * direction[1] - x[1] * direction[0]))
        inside, constant = np.hypot(*x) < 20, [np.ones(shape)]
    else:
        across2 = (x**2).sum(0) - along**2
        structure = 50 * np.exp(-across2 / 2 / 2.5**2)
        inside, constant = ((x**2).sum(0) < 14**2) & (across2 < 4), []
    result = smooth(structure * (1 + 0.3 * modulation))
    parts = [*constant, structure, structure * modulation]
    matrix = np.stack([part[inside] for part in parts], -1)
    weights = np.linalg.lstsq(matrix, result[inside], rcond=None)[0]
    return 1 - weights[-1] / 0.3
