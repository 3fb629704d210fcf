"""Errors carry their data, survive a copy to another process, and are worded in Python."""

import copy
import inspect
import pickle
from pathlib import Path

import pytest

from napari_diffusion.core import errors
from napari_diffusion.core.errors import (
    PYTHON_WORDS,
    BlockFailed,
    DescribedError,
    DeviceFailed,
    DeviceMemoryError,
    InputError,
    MissingLibraryError,
    NotEnoughMemory,
    NotFinite,
    Remedy,
    SourceLocked,
    SourceMissing,
    TargetExists,
    WriteError,
    reason_of,
)

FILE = Path("some") / "folder" / "a.tif"
#: One error of each class with a built-in class that callers may catch.
EXAMPLES = [
    (DescribedError("it is wrong", Remedy.NAME_AXES, FILE), Exception),
    (InputError("it is wrong", Remedy.NAME_AXES, FILE), ValueError),
    (NotFinite(3, (0, 2), "The image"), ValueError),
    (SourceMissing("there is no such file", path=FILE), FileNotFoundError),
    (SourceLocked("no permission", path=FILE), PermissionError),
    (TargetExists("exists already", Remedy.ALLOW_OVERWRITING, FILE), FileExistsError),
    (WriteError("cannot be written", path=FILE), OSError),
    (NotEnoughMemory("The run needs 2 GiB", Remedy.FILTER_LESS), MemoryError),
    (BlockFailed("the block 0:5 has failed", Remedy.CONTINUE, FILE), RuntimeError),
    (DeviceFailed("the card cannot be used"), RuntimeError),
    (DeviceMemoryError("the memory of the card is too small"), RuntimeError),
    (MissingLibraryError("A library is missing."), ImportError),
]


def test_every_class_has_an_example():
    classes = {
        kind
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, Exception)
    }
    assert {type(error) for error, _ in EXAMPLES} == classes


@pytest.mark.parametrize(("error", "base"), EXAMPLES)
@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))]
)
def test_copy_keeps_class_message_and_attributes(error, base, copied):
    error.__dict__["added"] = "later"
    again = copied(error)
    assert type(again) is type(error)
    assert isinstance(again, base)
    assert (str(again), repr(again)) == (str(error), repr(error))
    assert vars(again) == vars(error)


@pytest.mark.parametrize("remedy", Remedy)
def test_python_has_words_for_every_remedy(remedy):
    words = PYTHON_WORDS[remedy]
    assert str(InputError("the image is wrong", remedy)) == f"the image is wrong; {words}."
    assert "--" not in words
    assert "“" not in words


def test_message_names_the_file_and_a_front_end_may_leave_out_its_folder():
    error = TargetExists("exists already", Remedy.ALLOW_OVERWRITING, FILE)
    words = {Remedy.ALLOW_OVERWRITING: "say so"}
    assert error.sentence(words) == f"{FILE}: exists already; say so."
    assert error.sentence(words, with_folder=False) == "a.tif: exists already; say so."
    assert str(InputError("it has no axis T", path=FILE)) == f"{FILE}: it has no axis T."
    assert str(InputError("The image is flat")) == "The image is flat."


@pytest.mark.parametrize(
    ("count", "message"),
    [
        (
            1,
            (
                "The image has 1 value that is NaN or infinite at index [0, 2]; "
                "use nan='mask' to diffuse around it."
            ),
        ),
        (
            3,
            (
                "The image has 3 values that are NaN or infinite, one at index [0, 2]; "
                "use nan='mask' to diffuse around them."
            ),
        ),
    ],
)
def test_error_of_invalid_values_counts_them(count, message):
    error = NotFinite(count, (0, 2), "The image")
    assert str(error) == message
    assert (error.count, error.index, error.subject) == (count, (0, 2), "The image")
    worded = error.sentence({Remedy.MASK_NAN: "leave them out"})
    assert worded.partition("; ")[2].startswith("leave them out to diffuse around ")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("two\n  lines."), "two lines"),
        (KeyError(), "KeyError"),
        (KeyError("axes"), "the entry 'axes' is missing"),
        (KeyError("no image at 3"), "'no image at 3'"),
        (OSError(28, "No space left on device", "a.tif"), "No space left on device"),
        (OSError("strange disk."), "strange disk"),
        (InputError("it has no axis T", Remedy.NAME_AXES, FILE), "it has no axis T"),
    ],
)
def test_reason_of_any_error_is_part_of_a_sentence(error, reason):
    assert reason_of(error) == reason
