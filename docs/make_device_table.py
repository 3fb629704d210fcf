"""Make the table of docs/graphics_card.md: ``python docs/make_device_table.py``.

The kernels of the package decide about each cell. `tests/devices/test_page_of_devices.py` checks
the same cells.
"""

import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS.parent / "tests"))

from helpers.device_cells import table  # noqa: E402

PAGE, START, END = DOCS / "graphics_card.md", "<!-- cells -->\n", "<!-- end of cells -->"


def main() -> None:
    """Write the table."""
    page = PAGE.read_text(encoding="utf-8")
    before, rest = page.split(START)
    _, after = rest.split(END)
    lines = "".join(f"{line}\n" for line in table())
    PAGE.write_text(f"{before}{START}{lines}{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
