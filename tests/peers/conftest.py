"""Other packages; a test of one that is not installed is skipped."""

import pytest


@pytest.fixture
def itk():
    module = pytest.importorskip("SimpleITK")
    module.ProcessObject.SetGlobalWarningDisplay(False)
    return module


@pytest.fixture
def diplib():
    return pytest.importorskip("diplib")
