"""The standard streams: a message that cannot be written never decides over a result.

A stream may be closed, full, without a reader, or of an encoding without the letters of a message.
"""

from __future__ import annotations

import codecs
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import click

#: Plain spellings of the letters in our messages, for encodings without them.
_PLAIN = {"²": "^2", "³": "^3", "µ": "u", "μ": "u", "Å": "A", "×": "x", "∇": "grad", "∂": "d"}
_REPLACE = "napari-diffusion-replace"
#: Whether the three streams have numbers even if they are closed; a program of Windows without a
#: console has none.
_HAS_NUMBERS = os.name == "posix"
#: What writing to a stream raises: an error of the system, or a stream that Python has closed.
WRITE_ERRORS = (OSError, ValueError)


def _replacement(error: UnicodeError) -> tuple[str | bytes, int]:
    """Replace a letter that an encoding lacks; bytes of a file name stay as they are."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letter = error.object[error.start]
    if "\udc80" <= letter <= "\udcff":
        return bytes([ord(letter) - 0xDC00]), error.start + 1
    return _PLAIN.get(letter, "?"), error.start + 1


codecs.register_error(_REPLACE, _replacement)


def say(message: str) -> None:
    """Print a message on standard error, or drop it where that is impossible."""
    with suppress(*WRITE_ERRORS):
        click.echo(message, file=sys.stderr)


def mention(message: str) -> None:
    """Print a message on standard output, or drop it where that is impossible."""
    with suppress(*WRITE_ERRORS):
        click.echo(message, file=sys.stdout)


def show(message: str) -> None:
    """Print the result of a command on standard output.

    Raises
    ------
    OSError
        When it cannot be printed.
    """
    click.echo(message, file=sys.stdout)


def is_terminal() -> bool:
    """Whether standard error is a terminal."""
    with suppress(*WRITE_ERRORS, AttributeError):
        return bool(sys.stderr.isatty())
    return False


class Output:
    """Standard output, which remembers why it could not be written.

    Attributes
    ----------
    error
        The last error, or ``None``.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.error: OSError | None = None

    def write(self, text: str) -> int:
        """Write text."""
        with self._remembering():
            written: int = self._stream.write(text)
        return written

    def flush(self) -> None:
        """Write what the stream still holds."""
        with self._remembering():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        """Return another attribute of the stream."""
        return getattr(self._stream, name)

    @contextmanager
    def _remembering(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.error = error
            raise


@contextmanager
def prepared_streams() -> Iterator[Output]:
    """Make the standard streams usable within this block, and yield standard output."""
    with ExitStack() as stack:
        _open_missing(stack)
        streams = sys.stdout, sys.stderr
        for stream in streams:
            _replace_missing_letters(stack, stream)
        _wait_for_output(stack)
        output = Output(sys.stdout)
        stack.callback(setattr, sys, "stdout", sys.stdout)
        sys.stdout = output
        try:
            yield output
        finally:
            for stream in streams:
                _flush_or_abandon(stream)


def _open_missing(stack: ExitStack) -> None:
    """Open the streams that were closed before the program started.

    Otherwise, the first files that the program opens would take their numbers, and messages of
    libraries would be written into them. Standard output refuses what is written to it.
    """
    if _HAS_NUMBERS:
        for number, mode in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
            try:
                os.fstat(number)
            except OSError:
                os.open(os.devnull, mode)  # takes the smallest free number
    for name, number in (("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            place = number if _HAS_NUMBERS else os.devnull
            stream = open(place, "w", encoding="utf-8", closefd=not _HAS_NUMBERS)  # noqa: SIM115
            stack.callback(stream.close)
            stack.callback(setattr, sys, name, None)
            setattr(sys, name, stream)


def _replace_missing_letters(stack: ExitStack, stream: Any) -> None:
    """Let a stream replace the letters that its encoding lacks."""
    before = getattr(stream, "errors", None)
    with suppress(*WRITE_ERRORS, AttributeError):  # a stream of another kind has no such option
        stream.reconfigure(errors=_REPLACE)
        stack.callback(_reconfigure, stream, before)


def _reconfigure(stream: Any, errors: str | None) -> None:
    with suppress(*WRITE_ERRORS):
        stream.reconfigure(errors=errors)


def _wait_for_output(stack: ExitStack) -> None:
    """Let standard output wait for its reader; a stream that does not wait loses lines."""
    with suppress(*WRITE_ERRORS, AttributeError):
        number = sys.stdout.fileno()
        if _HAS_NUMBERS and not os.get_blocking(number):
            os.set_blocking(number, True)
            stack.callback(os.set_blocking, number, False)


def _flush_or_abandon(stream: Any) -> None:
    """Write what a stream still holds, or send it nowhere.

    Otherwise, Python would try once more at its end, and end with an error.
    """
    try:
        stream.flush()
    except WRITE_ERRORS:
        with suppress(*WRITE_ERRORS):
            number = stream.fileno()
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, number)
            os.close(nowhere)


@contextmanager
def log_of_errors(quiet: bool) -> Iterator[None]:
    """Hide the notes and warnings in the log of this package, such as that of a full cache."""
    log = logging.getLogger("napari_diffusion")
    level = log.level
    if quiet:
        log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)
