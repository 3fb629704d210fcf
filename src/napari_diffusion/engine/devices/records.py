"""What is known of devices: whether they have the bits of the processor, and how fast they are.

It is kept in the cache of the user, for each device with its driver and for each kind of run. A
process reads it once, so that a choice by it stays the same.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Callable, Hashable, Iterator
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs

from napari_diffusion.backends.devices import Device
from napari_diffusion.backends.opencl.preludes import FILES, source
from napari_diffusion.engine.devices.verdicts import Verdict

#: Time that a process needs to open its first card [s]; it counts in every comparison, so that
#: small runs never open one.
OPENING_S = 1.0


@dataclass(frozen=True)
class Work:
    """The work of a run.

    Attributes
    ----------
    amount
        Voxels times effort of the stages, over all frames and channels.
    nbytes
        Bytes that are copied to the device and back.
    threads
        Threads on the processor.
    """

    amount: float
    nbytes: float
    threads: int


@dataclass(frozen=True)
class Proof:
    """What is known of a device in runs of a kind.

    Attributes
    ----------
    verdict
        How its results compare with those of the processor.
    pace, processor_pace
        Time on the device, and time of one thread of the processor, per unit of work [s]; ``None``
        if they were not measured.
    transfer
        Time to copy a byte to the device or back [s].
    """

    verdict: Verdict
    pace: float | None = None
    processor_pace: float | None = None
    transfer: float = 0.0

    def saving(self, work: Work) -> float:
        """Return the time that a run saves on the device [s]; negative if it loses time."""
        if self.pace is None or self.processor_pace is None:
            return -OPENING_S
        on_device = self.pace * work.amount + self.transfer * work.nbytes + OPENING_S
        return self.processor_pace * work.amount / work.threads - on_device


#: Proofs by kind of run, and what identifies their device.
_Record = dict[str, Any]


def proof_of(device: Device, kind: Hashable, prove: Callable[[], Proof]) -> Proof:
    """Return the proof for a device and a kind of run.

    Parameters
    ----------
    device
        The device. Its driver and the kernels belong to the key of the proof.
    kind
        What selects the kernels of the run.
    prove
        Compares the device with the processor, when it is first used for runs of this kind.
    """
    record = _records().setdefault(_key_of(device), {"is_card": device.is_card, "proofs": {}})
    plain = record["proofs"].get(_digest(kind))
    if plain is not None:
        return _proof(plain)
    proof = prove()
    record["proofs"][_digest(kind)] = asdict(proof)
    _State.changes += 1
    _save()
    return proof


def has_proven_card() -> bool:
    """Whether a card was proven to have the bits of the processor in some kind of run."""
    return any(record["is_card"] for record in _records().values())


def changes() -> int:
    """Return the number of proofs that this process has made: a choice by them may change."""
    return _State.changes


def proven_cards(
    kind: Hashable, devices: Callable[[], tuple[Device, ...]], work: Work
) -> Iterator[Device]:
    """Yield the cards that save time in a run with the bits of the processor, the fastest first.

    The ``devices`` of this machine are not searched if no record promises to save time.
    """
    digest, promising = _digest(kind), list[tuple[float, str]]()
    for key, record in _records().items():
        plain = record["proofs"].get(digest)
        if record["is_card"] and plain is not None:
            proof = _proof(plain)
            if proof.verdict is Verdict.EXACT and proof.saving(work) > 0:
                promising.append((-proof.saving(work), key))
    if not promising:
        return
    present = {_key_of(device): device for device in devices()}
    for _, key in sorted(promising):
        if key in present:
            yield present[key]


def _digest(value: object) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()[:24]


def _key_of(device: Device) -> str:
    return _digest((_version_of_kernels(), device.name, device.platform, device.version))


@cache
def _version_of_kernels() -> str:
    sources = "".join(source(name, np.dtype(np.float32)) for name in FILES)
    sources += os.environ.get("PYOPENCL_BUILD_OPTIONS", "")  # which pyopencl adds to its own
    return f"{hashlib.sha256(sources.encode()).hexdigest()[:16]} {version('numba')}"


def _proof(plain: dict[str, Any]) -> Proof:
    """Return the proof of plain numbers and texts; raises an error if they are none."""
    return Proof(**(plain | {"verdict": Verdict(plain["verdict"])}))


class _State:
    """Changes of the records in this process."""

    changes = 0


@cache
def _records() -> dict[str, _Record]:
    """Records of this process, which begin with those of the file."""
    return _saved()


def _file() -> Path | None:
    """Return the file of the records in the cache of the user; ``None`` without a cache."""
    if os.environ.get("NAPARI_DIFFUSION_NO_CACHE"):
        return None
    folder = os.environ.get("NUMBA_CACHE_DIR")
    if folder:
        return Path(folder).absolute() / "napari-diffusion" / "devices.json"
    path = Path(platformdirs.user_cache_dir("napari-diffusion", appauthor=False)) / "devices.json"
    return path if path.is_absolute() else None


def _saved() -> dict[str, _Record]:
    """Return the records of the file; none if it is missing, damaged or older."""
    path = _file()
    try:
        plain = {} if path is None else json.loads(path.read_text("utf-8"))
        return {
            str(key): {
                "is_card": bool(record["is_card"]),
                "proofs": {kind: asdict(_proof(each)) for kind, each in record["proofs"].items()},
            }
            for key, record in plain.items()
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def _save() -> None:
    """Write the records, together with those that other processes have written."""
    path = _file()
    if path is None:
        return
    records = _saved()
    for key, record in _records().items():
        proofs = records.get(key, record)["proofs"] | record["proofs"]
        records[key] = record | {"proofs": proofs}
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(records), "utf-8")
        part.replace(path)
    except OSError:  # the test runs again in the next process
        part.unlink(missing_ok=True)
