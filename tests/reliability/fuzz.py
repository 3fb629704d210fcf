"""The fuzzer: cases drawn from seeds, and what every run promises."""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import warnings
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

import numpy as np

from helpers.hostile import fingerprint
from reliability import laws
from reliability.case import CONTENTS, draw
from reliability.report import Figures

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
    sentence, findings, _ = outcome(draw(seed))
    return sentence, findings


def outcome(case):
    """Return the refusal of a case, or None, its findings, and the shares of tolerances by law."""
    try:
        result, sentence = refused(case.image, lambda image: case.run(image=image))
    except Exception as error:  # a crash of any kind is a finding
        return None, [f"{case}: {type(error).__name__}: {error}"], {}
    if sentence is not None:
        return sentence, [], {}
    rng = np.random.default_rng(case.seed)
    drawn = rng.choice(len(laws.DRAWN), DRAWN_LAWS, replace=False)
    findings, shares = [], {}
    for law in (*laws.ALWAYS, *(laws.DRAWN[i] for i in sorted(drawn))):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                shares[law.__name__] = law(case, result)
        except Exception as error:
            findings.append(f"{law.__name__}: {type(error).__name__}: {error} | {case}")
    return None, findings, shares


#: Kinds of runs that are counted: whether a case is one of them.
KINDS = {
    "NaN or infinite values": lambda case: not np.isfinite(case.array).all(),
    "extreme values": lambda case: case.content in ("on an offset", "tiny", "huge", "limits"),
    "no voxel or axes of one voxel": lambda case: min(case.array.shape, default=1) < 2,
    "frames": lambda case: case.array.ndim > len(case.axes) + (case.channel_axis is not None),
    "channels": lambda case: case.channel_axis is not None,
    "a mask or labels": lambda case: bool({"mask", "labels"} & case.arrays.keys()),
    "a guide": lambda case: "guide" in case.arrays,
    "a fidelity length": lambda case: case.options["fidelity_length"] is not None,
    "a steady state": lambda case: case.time is None,
    "a transform of photon noise": lambda case: case.options["transform"] != "none",
    "hot and dead voxels replaced": lambda case: case.options["impulses"] != "keep",
    "a map of thresholds": lambda case: getattr(case.model, "kappa_map", None) is not None,
}


def described(seed):
    """Return what one case adds to the figures: refusal, findings, shares, and what it is."""
    case = draw(seed)
    sentence, findings, shares = outcome(case)
    kinds = [name for name, is_one in KINDS.items() if is_one(case)]
    return sentence, findings, shares, kinds, (case.model.name, str(case.array.dtype), case.layout)


def run(seeds, processes=1):
    """Check the cases of some seeds."""
    if processes > 1:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(processes, context) as pool:
            return total(seeds, pool.map(described, seeds, chunksize=10))
    return total(seeds, map(described, seeds))


def total(seeds, cases):
    """Return the figures of some cases, each as `described` returns it."""
    figures, refusals, kinds = Figures(), 0, Counter(dict.fromkeys(KINDS, 0))
    shares = {law.__name__: [] for law in (*laws.ALWAYS, *laws.DRAWN)}
    seen = {"models": set(), "data types": set(), "layouts": set()}
    for sentence, findings, own, kinds_of_case, marks in cases:
        figures.runs += 1
        figures.findings += findings
        refusals += sentence is not None
        if sentence is not None:
            continue
        kinds.update(kinds_of_case)
        for name, mark in zip(seen, marks, strict=True):
            seen[name].add(mark)
        for name, share in own.items():
            shares[name].append(share)
    figures.rows["refused in one sentence"] = f"{refusals:,}"
    figures.rows["seeds"] = f"{min(seeds)} to {max(seeds)}"
    counts = ", ".join(f"{len(own)} {name}" for name, own in seen.items())
    figures.rows["kinds"] = f"{counts}, {len(CONTENTS)} kinds of values"
    for name, count in kinds.items():
        figures.rows[f"results with {name}"] = f"{count:,}"
    for name, used in shares.items():
        numbers = [share for share in used if share is not None]
        largest = f", at most {max(numbers):.2g} of the tolerance" if numbers else ""
        count = len(numbers) or len(used)
        figures.rows[f"law: {name.replace('_', ' ')}"] = f"{count:,} runs{largest}"
    return figures
