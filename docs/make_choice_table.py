"""Make the table of docs/learn/how_to_choose.md: ``python docs/make_choice_table.py``.

It takes the rows of docs/noise_kinds.json in which another tool leads by at least 1 dB.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

DOCS = Path(__file__).parent
PAGE = DOCS / "learn" / "how_to_choose.md"
OURS = {"automatic", "our best"}
LEAD = 1.0  # dB


def rows() -> list[list[str]]:
    """Return image, the tool with the largest gain, its gain and ours, largest lead first."""
    stored = json.loads((DOCS / "noise_kinds.json").read_text(encoding="utf-8"))
    leads = []
    for image, results in stored.items():
        gains = {name: result["gain"] for name, result in results.items()}
        ours = max(gains[name] for name in OURS)
        tool = max(gains.keys() - OURS, key=gains.__getitem__)
        if gains[tool] - ours >= LEAD:
            leads.append((gains[tool] - ours, image, tool, gains[tool], ours))
    return [
        [image, tool, f"{gain:.1f}", f"{ours:.1f}"]
        for _, image, tool, gain, ours in sorted(leads, reverse=True)
    ]


def main() -> None:
    """Write the table between its marks."""
    lines = [
        ["image and noise", "best other tool", "other [dB]", "ours [dB]"],
        ["---"] * 4,
        *rows(),
    ]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    text = PAGE.read_text(encoding="utf-8")
    pattern = "(<!-- others -->\n).*(<!-- end others -->)"
    text = re.sub(pattern, rf"\1\n{table}\n\n\2", text, flags=re.DOTALL)
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
