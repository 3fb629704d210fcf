"""What a part of the suite reports."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Figures:
    """Result of a part.

    Attributes
    ----------
    runs
        Number of runs.
    findings
        What went wrong: one text each; none if all promises were kept.
    rows
        Figures for the page, by their names.
    """

    runs: int = 0
    findings: list[str] = field(default_factory=list)
    rows: dict[str, str] = field(default_factory=dict)

    def check(self, holds: bool, finding: str) -> None:
        """Count a run, and keep the finding unless a promise holds."""
        self.runs += 1
        if not holds:
            self.findings.append(finding)
