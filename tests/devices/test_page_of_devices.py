from pathlib import Path

import pytest

from helpers.device_cells import table

PAGE = Path(__file__).parents[2] / "docs" / "graphics_card.md"


@pytest.mark.parametrize("line", table())
def test_the_page_says_which_runs_have_kernels(line):
    assert f"\n{line}\n" in PAGE.read_text("utf-8"), "run docs/make_device_table.py"
