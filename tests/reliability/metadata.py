"""What a result keeps of a file that another library has written, for every format."""

from __future__ import annotations

from helpers.format_cells import KEPT, LOST, ROWS, cells
from reliability.report import Figures


def run(count, folder):
    """Write, filter and read a file of each format."""
    figures, kept = Figures(), 0
    for number, row in enumerate(ROWS):
        place = folder / str(number)
        place.mkdir()
        _, said = cells(row, place)
        for name, word in said.items():
            figures.check(word != LOST, f"{row}: a result loses its {name}")
            kept += word == KEPT
    figures.rows["kinds of files, metadata that results keep"] = f"{len(ROWS)}, {kept}"
    return figures
