"""Several processes share the tests; all tests with windows run in one of them."""

from pathlib import Path

import pytest

TESTS = Path(__file__).parent
#: Folders whose tests open windows. Windows of several processes would take the focus of others.
WINDOWS = ("cli", "ui", "workflows")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests with windows into one group of pytest-xdist."""
    for item in items:
        if TESTS in item.path.parents and item.path.relative_to(TESTS).parts[0] in WINDOWS:
            item.add_marker(pytest.mark.xdist_group("windows"))
