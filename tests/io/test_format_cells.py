"""The table of formats in docs/data.md says what is true: each cell is measured."""

import pytest

from helpers import format_cells
from helpers.format_cells import COLUMNS, LOST, ROWS, cells, writer_of
from helpers.paths import ROOT


def test_the_table_has_at_least_twelve_formats():
    assert len(ROWS) >= 12


@pytest.mark.parametrize("row", ROWS)
def test_cells_of_the_table_are_measured(row, tmp_path):
    suffix, said = cells(row, tmp_path)
    assert LOST not in said.values()
    page = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    line = f"| {' | '.join((row, writer_of(row), f'`{suffix}`', *said.values()))} |"
    assert f"\n{line}\n" in page, "run docs/make_format_table.py"


@pytest.mark.parametrize("name", COLUMNS)
def test_value_that_is_not_written_is_lost(name, tmp_path, monkeypatch):
    """A format without it would say so in the table."""
    row = {"channel names": "OME-TIFF", "time step": "ImageJ TIFF"}.get(name, "NIfTI")
    take, calls = COLUMNS[name], []

    def forgotten(volume):
        calls.append(volume)
        return take(volume) if len(calls) % 2 else None

    monkeypatch.setitem(format_cells.COLUMNS, name, forgotten)
    assert cells(row, tmp_path)[1][name] == LOST
