"""Make the table of formats of docs/data.md: ``python docs/make_format_table.py``.

Each cell is measured: a file of another library is read, a result of its format is written, and
that is read again. `tests/io/test_format_cells.py` checks the same cells.
"""

import sys
import tempfile
from pathlib import Path

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS.parent / "tests"))

from helpers.format_cells import table  # noqa: E402

PAGE, START, END = DOCS / "data.md", "<!-- cells -->\n", "<!-- end of cells -->"


def main() -> None:
    """Write the table."""
    page = PAGE.read_text(encoding="utf-8")
    before, rest = page.split(START)
    _, after = rest.split(END)
    with tempfile.TemporaryDirectory() as folder:
        lines = "".join(f"{line}\n" for line in table(Path(folder)))
    PAGE.write_text(f"{before}{START}{lines}{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
