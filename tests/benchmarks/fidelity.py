"""Measure runs with a fidelity length: ``python tests/benchmarks/fidelity.py``.

It writes the tables of ``docs/fidelity.md``: the residual of the steady state of every model, and
the difference from the total variation of scikit-image.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from skimage.restoration import denoise_tv_chambolle

import napari_diffusion as nd
from napari_diffusion.models import all_models
from napari_diffusion.testing.cases import CASES, RANGE

PAGE = Path(__file__).parents[2] / "docs" / "fidelity.md"
LENGTH = 2.0


def rms(values):
    """Return the root mean square."""
    return float(np.sqrt(np.mean(np.square(values, dtype=float))))


def residual(model, case):
    """Return the residual of the steady state, and the change, as shares of the range."""
    image, options = case.picture(), {"spacing": case.spacing}
    steady = nd.diffuse(image, model, fidelity_length=LENGTH, **options)
    step = 1e-3 * nd.plan(image, model, time=1.0, **options).max_step
    flow = nd.diffuse(steady, model, time=step, scheme="explicit", **options) - steady
    return rms(LENGTH**2 * flow / step + image - steady) / RANGE, rms(steady - image) / RANGE


def residual_rows():
    """Yield the rows of the table of residuals."""
    yield "| model | 2-D, residual | change of the image | 3-D, residual | change |"
    yield "|---|---|---|---|---|"
    for kind in all_models():
        model = kind()
        if model.has_transform:
            continue
        cells = [
            f"{value:.0e}" for case in (CASES[1], CASES[-1]) for value in residual(model, case)
        ]
        yield f"| {model.title} | {' | '.join(cells)} |"


def rof_rows():
    """Yield the rows of the comparison with scikit-image."""
    noise = np.random.default_rng(5)
    line = np.repeat([0.0, 50.0, 0.0, 80.0, 20.0], 30)
    disk = np.where(np.hypot(*np.mgrid[-24:24, -24:24]) < 14, 90.0, 20.0)
    yield "| image | ℓ | κ | root mean square | largest | change of the image |"
    yield "|---|---|---|---|---|---|"
    for name, clean in (("steps, 1-D", line), ("disk, 2-D", disk)):
        for length, kappa in ((1.0, 10.0), (2.0, 5.0)):
            image = clean + noise.normal(0, 8, clean.shape)
            weight = kappa * length**2
            other = denoise_tv_chambolle(image, weight=weight, eps=1e-9, max_num_iter=20_000)
            model = nd.TotalVariation(kappa=kappa, epsilon=3e-3)
            own = nd.diffuse(image, model, fidelity_length=length, tolerance=3e-4)
            values = rms(own - other), np.abs(own - other).max(), rms(image - other)
            cells = [f"{100 * value / np.ptp(image):.2f}" for value in values]
            yield f"| {name} | {length:g} | {kappa:g} | {' | '.join(cells)} |"


def main():
    """Write the tables into the page."""
    text = PAGE.read_text(encoding="utf-8")
    for name, rows in (("residuals", residual_rows()), ("rof", rof_rows())):
        table = "\n".join(rows)
        print(table, end="\n\n")
        parts = rf"(<!-- {name} -->\n).*?(<!-- end {name} -->)"
        text = re.sub(parts, lambda m, t=table: f"{m[1]}{t}\n{m[2]}", text, flags=re.DOTALL)
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
