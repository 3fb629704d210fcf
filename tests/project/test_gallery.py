"""Every script of the gallery runs, and shows what its title promises."""

import re
import runpy

import numpy as np
import pytest

from helpers.paths import ROOT

GALLERY = ROOT / "docs" / "gallery"
SCRIPTS = {path.stem: path for path in sorted(GALLERY.glob("*.py"))}


def spread(image, axis):
    """Return the standard deviation of the positions of a spot, in pixels."""
    profile = image.sum(axis=1 - axis)
    positions = np.arange(len(profile))
    mean = (profile * positions).sum() / profile.sum()
    return np.sqrt((profile * (positions - mean) ** 2).sum() / profile.sum())


def is_round(names):
    spot = names["blurred"][:, :48]
    return abs(2.0 * spread(spot, 0) - 0.5 * spread(spot, 1)) < 0.05


def keeps_the_edge_that_a_gaussian_loses(names):
    jumps = {key: np.abs(np.diff(names[key][48])).max() for key in ("smooth", "blurred")}
    return jumps["smooth"] > 2 * jumps["blurred"]


def shares_the_edge(names):
    inside, outside = names["shape"] > 0, names["shape"] == 0
    contrast = [
        names[key][1][inside].mean() - names[key][1][outside].mean() for key in ("apart", "coupled")
    ]
    return contrast[1] > contrast[0]


def closes_the_gap(names):
    ring = np.hypot(names["y"] + 40, names["x"] - 48) % 12 < 3
    gap = names["closed"][:, 46:50]
    return gap[ring[:, 46:50]].mean() > 20 + gap[~ring[:, 46:50]].mean()


def gets_rid_of_hot_pixels(names):
    """Of about 90 pixels, a cluster of some may stay, since it may be a structure."""
    left = {key: (names[key] > 250).sum() for key in ("kept", "repaired")}
    return left["repaired"] < left["kept"] / 10


def keeps_regions_apart(names):
    labels = names["labels"]
    means = [
        (names["smooth"][labels == k].mean(), names["image"][labels == k].mean()) for k in (1, 2, 3)
    ]
    return np.allclose(*zip(*means, strict=True), rtol=1e-6)


def levels_the_noise(names):
    residue = {key: (names[key] / names["level"])[4:20] for key in ("even", "smooth")}
    return residue["smooth"][:, 72:].std() < residue["even"][:, 72:].std() / 2


def keeps_the_level(names):
    inside = names["truth"] > 0
    height = {
        key: names[key][inside].mean() - names[key][~inside].mean() for key in ("held", "free")
    }
    return height["held"] > 50 > 10 > height["free"] and names["held"][:20].std() < 1


def keeps_the_faint_edge(names):
    step = {
        key: abs(np.diff(names[key][30:66].mean(0))[22:26]).max() for key in ("guided", "alone")
    }
    return step["guided"] > 6 > 1 > step["alone"] and names["guided"][40:56, 40:56].std() < 1


#: What a script shows, as a property of the names that it defines.
PROMISES = {
    "chosen_by_the_noise": lambda n: abs(n["smooth"] - n["truth"]).mean() < 6,
    "coherence": lambda n: (
        n["coherence"][:, 8:40].mean() > 0.9 > 0.1 > n["coherence"][:, 56:].mean()
    ),
    "colour": shares_the_edge,
    "edges_of_another_channel": keeps_the_faint_edge,
    "fibres": closes_the_gap,
    "flat_regions": lambda n: ((n["flat"] > 75) == (n["truth"] > 75)).mean() > 0.99,
    "gaussian_in_micrometres": is_round,
    "held_to_the_image": keeps_the_level,
    "hot_pixels": gets_rid_of_hot_pixels,
    "labels": keeps_regions_apart,
    "own_diffusivity": lambda n: n["smooth"][70:90, 8:20].std() < 2 < 60 < np.ptp(n["smooth"][48]),
    "perona_malik": keeps_the_edge_that_a_gaussian_loses,
    "progress": lambda n: 0 < n["state"].fraction < 0.5 and n["state"].image[:, :40].std() < 5,
    "rician": lambda n: n["smooth"][:6, :6].mean() < n["magnitude"][:6, :6].mean() / 2,
    "scale_space": lambda n: np.all(np.diff([p.std() for p in n["panels"].values()]) < 0),
    "speckle": lambda n: n["quiet"][:10].std() / n["quiet"][:10].mean() < 0.16,
    "threshold_map": levels_the_noise,
    "time_series": lambda n: abs(n["smooth"][0].mean() - n["frames"][0].mean()) < 1e-3,
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_script_of_the_gallery_keeps_its_promise(name):
    names = runpy.run_path(str(SCRIPTS[name]))
    for panel in names["panels"].values():
        assert panel.ndim == 2
        assert np.isfinite(panel).all()
    assert PROMISES[name](names)


def test_the_gallery_shows_every_script_with_its_picture():
    page = (GALLERY / "index.md").read_text(encoding="utf-8")
    assert len(SCRIPTS) >= 12
    assert re.findall(r"\{literalinclude\} (\w+)\.py", page) == re.findall(
        r"gallery/(\w+)\.png", page
    )
    assert set(re.findall(r"\{literalinclude\} (\w+)\.py", page)) == set(SCRIPTS)
    for name, path in SCRIPTS.items():
        (sentence,) = re.findall(r'^"""(.*)"""\n', path.read_text(encoding="utf-8"))
        assert sentence in page, name
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 25
