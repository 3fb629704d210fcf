"""The fuzzer: cases drawn from seeds, and what every run promises."""

from __future__ import annotations

import contextlib
import io
import time
import warnings
from collections import Counter

import numpy as np

from helpers.hostile import fingerprint
from napari_diffusion.engine.execution import Execution
from napari_diffusion.engine.recipe_fields import run_options
from reliability import laws
from reliability.case import draw
from reliability.report import Figures

#: Declared options of a run; `reliability.case` draws their values.
OPTIONS = (*run_options(), *run_options(Execution))
#: Laws that are drawn for each case.
DRAWN_LAWS = 3
#: Errors with which a run may be refused, in one sentence of at most this length.
REFUSALS, LONGEST = (ValueError, TypeError, MemoryError, IndexError), 400


def refused(make, function):
    """Call a function of the image that ``make`` returns; return its result and its refusal.

    Raises AssertionError for a changed input, a printed text, and a refusal that is no sentence;
    warnings and other errors are passed on.
    """
    image = make()
    before = fingerprint(image)
    streams = io.StringIO()
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(streams):
            warnings.simplefilter("error")
            with contextlib.redirect_stderr(streams):
                result, sentence = function(image), None
    except REFUSALS as error:
        result, sentence = None, str(error)
    assert fingerprint(image) == before, "the input was changed"
    assert not streams.getvalue(), f"printed {streams.getvalue()!r}"
    if sentence is not None:
        is_one = sentence.endswith(".") and "\n" not in sentence and ". " not in sentence
        assert is_one, f"not one sentence: {sentence}"
        assert len(sentence) <= LONGEST, f"a sentence of {len(sentence)} letters: {sentence}"
    return result, sentence


def check(seed):
    """Check one case; return its refusal, or None, and its findings."""
    case = draw(seed)
    try:
        result, sentence = refused(case.image, lambda image: case.run(image=image))
    except Exception as error:  # a crash of any kind is a finding
        return None, [f"{case}: {type(error).__name__}: {error}"]
    if sentence is not None:
        return sentence, []
    rng = np.random.default_rng(seed)
    drawn = rng.choice(len(laws.DRAWN), DRAWN_LAWS, replace=False)
    findings = []
    for law in (*laws.ALWAYS, *(laws.DRAWN[i] for i in sorted(drawn))):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                law(case, result)
        except Exception as error:
            findings.append(f"{law.__name__}: {type(error).__name__}: {error} | {case}")
    return None, findings


def run(seeds):
    """Check the cases of some seeds."""
    figures, refusals, longest = Figures(), Counter(), 0.0
    for seed in seeds:
        began = time.process_time()
        sentence, findings = check(seed)
        longest = max(longest, time.process_time() - began)
        figures.runs += 1
        figures.findings += findings
        refusals[sentence is not None] += 1
    figures.rows["refused in one sentence"] = f"{refusals[True]:,}"
    figures.rows["seeds"] = f"{min(seeds)} to {max(seeds)}"
    return figures
