"""The short form of the reliability suite; ``python tests/reliability/run.py`` has the long one."""

import inspect
import re
import sys

import numpy as np
import pytest

import napari_diffusion as nd
from reliability import damaged, fuzz, hostile, limits, many, run, stores
from reliability.case import ARRAYS, OPTIONS, OWN, draw, values_of
from reliability.laws import ALWAYS, DRAWN


def clean(figures):
    assert figures.runs
    assert not figures.findings, "\n".join(figures.findings)
    return figures


@pytest.mark.parametrize("first", range(0, 64, 16))
def test_runs_of_the_fuzzer_keep_their_promises(first):
    clean(fuzz.run(range(first, first + 16)))


def test_hostile_images_and_arguments_end_in_a_result_or_a_sentence():
    assert clean(hostile.run(1.0)).runs > 2000


def test_every_option_of_a_run_is_drawn():
    """A new option needs one line in `ARRAYS` or `VALUES`, unless its declaration says all."""
    drawn = {option.name for option in OPTIONS} | set(ARRAYS) | OWN
    assert set(inspect.signature(nd.diffuse).parameters) == drawn
    assert all(len(values_of(option)) > 1 for option in OPTIONS)


def test_seed_determines_the_case():
    assert all(str(draw(seed)) == str(draw(seed)) for seed in range(20))


def test_each_law_can_fail():
    """A result that is shifted, with one NaN and in another data type, breaks each of them."""
    unbroken = {*ALWAYS, *DRAWN}
    for seed in range(40):
        case = draw(seed)
        try:
            result = case.run().astype(float)
        except ValueError:
            continue
        if result.size < 2 or not np.isfinite(result).all():
            continue
        result += 1e3 * (1 + abs(result).max())
        result.flat[0] = np.nan
        for law in list(unbroken):
            try:
                law(case, result)
            except AssertionError:
                unbroken.discard(law)
        if not unbroken:
            return
    raise AssertionError(f"no case breaks {[law.__name__ for law in unbroken]}")


@pytest.mark.parametrize("first", [0, 2])
def test_damaged_files_end_in_an_image_or_a_sentence(first, tmp_path):
    """Two damages of each kind of file, as the long form has hundreds."""
    names = list(damaged.FILES)[first::4]
    clean(damaged.run(6, tmp_path, names=names))


@pytest.mark.parametrize("way", ["threads", "dask"])
def test_runs_at_the_same_time_have_the_bits_of_a_run_alone(way, tmp_path):
    clean(many.run(26, tmp_path, ways=[way]))


def test_runs_leave_no_memory_threads_and_files(tmp_path):
    clean(limits.run(60, tmp_path, is_long=False))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signal that kills")
def test_runs_in_blocks_go_on_after_kills(tmp_path):
    figures, folder = run.Figures(), tmp_path / "runs"
    folder.mkdir()
    stores.threads(3, folder, stores.source_in(folder), figures)
    assert clean(figures).runs > 5


def test_parts_and_bars_are_those_of_the_page():
    page = run.PAGE.read_text(encoding="utf-8")
    assert all(f"## {part.title}\n" in page for part in run.PARTS.values())
    assert all(f"| {number} | {promise} |" in page for number, promise, *_ in run.BARS)
    findings = int(re.search(r"Open findings of its last run:\n\*\*(\d+)\*\*", page).group(1))
    assert findings == sum(map(int, re.findall(r"\| findings \| (\d+) \|", page)))
