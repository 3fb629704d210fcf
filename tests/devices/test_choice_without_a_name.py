"""Without a name, a card is taken that has the bits of the processor and is faster."""

from dataclasses import replace

import pytest

import napari_diffusion as nd
from helpers.emulated import MODEL, NAME, changed_sources, needs_emulation, run_on
from napari_diffusion.backends import devices
from napari_diffusion.engine.devices import records
from napari_diffusion.engine.devices.records import Proof
from napari_diffusion.engine.devices.verdicts import Verdict
from napari_diffusion.engine.planner import kept_plan

pytestmark = pytest.mark.usefixtures("own_records")


def with_paces(monkeypatch, **paces):
    """Let all cards be measured with these paces."""
    monkeypatch.setattr(records, "_proof", lambda plain: Proof(Verdict(plain["verdict"]), **paces))


FAST, SLOW = {"pace": 0.0, "processor_pace": 1.0}, {"pace": 1.0, "processor_pace": 1e-3}


def planned(image, device=None, **options):
    return nd.plan(image, MODEL, time=2.0, device=device, **options).device


@needs_emulation
def test_without_a_name_the_processor_is_taken_until_a_card_was_proven(image, card, monkeypatch):
    with_paces(monkeypatch, **FAST)
    assert planned(image) is None
    run_on(image, "gpu")
    assert planned(image) == card
    assert planned(image, "cpu") is None
    assert planned(image, backend="compiled") is None
    # Another kind of run, another driver.
    assert nd.plan(image, nd.TotalVariation(), time=2.0).device is None
    newer = replace(card, version="newer")
    monkeypatch.setattr(devices, "_search", lambda: ((newer,), ""))
    kept_plan.cache_clear()
    assert planned(image) is None


@needs_emulation
def test_without_a_name_the_faster_one_is_taken(image, card, monkeypatch):
    run_on(image, "gpu")
    for paces, expected in ((FAST, card), (SLOW, None), ({}, None)):
        with_paces(monkeypatch, **paces)
        kept_plan.cache_clear()
        assert planned(image) == expected
    # The card is far faster, but the copies, or the start, take longer than the run.
    for paces in (FAST | {"transfer": 1.0}, {"pace": 0.0, "processor_pace": 1e-9}):
        with_paces(monkeypatch, **paces)
        kept_plan.cache_clear()
        assert planned(image) is None


@needs_emulation
def test_without_a_name_no_driver_is_opened_unless_it_saves_time(image, card, monkeypatch):
    run_on(image, "gpu")
    with_paces(monkeypatch, **SLOW)
    kept_plan.cache_clear()
    monkeypatch.setattr(devices, "_search", lambda: pytest.fail("devices were searched"))
    nd.diffuse(image, MODEL, time=2.0)


@needs_emulation
def test_without_a_name_an_emulation_is_never_taken(image, monkeypatch):
    run_on(image, NAME)
    card = devices.Device("card", "", "", 0, True, True, None)
    records.proof_of(card, "another kind of run", lambda: Proof(Verdict.EXACT))
    with_paces(monkeypatch, **FAST)
    kept_plan.cache_clear()
    monkeypatch.setattr(devices, "_search", lambda: pytest.fail("devices were searched"))
    assert planned(image) is None


@needs_emulation
def test_without_a_name_a_card_that_rounds_otherwise_is_never_taken(image, card, monkeypatch):
    changed_sources(monkeypatch, "FMA(s, s, ONE)", "ONE + s * s")
    run_on(image, card.name)
    with_paces(monkeypatch, **FAST)
    kept_plan.cache_clear()
    assert planned(image) is None


@needs_emulation
def test_without_a_name_a_card_without_enough_memory_is_not_taken(image, card, monkeypatch):
    run_on(image, "gpu")
    with_paces(monkeypatch, **FAST)
    small = replace(card, memory=1000)
    monkeypatch.setattr(devices, "_search", lambda: ((small,), ""))
    kept_plan.cache_clear()
    assert planned(image) is None


@needs_emulation
def test_a_card_is_measured_with_its_self_test_and_an_emulation_is_not(image, card, monkeypatch):
    run_on(image, "gpu")
    (record,) = records._records().values()
    (proof,) = map(records._proof, record["proofs"].values())
    assert min(proof.pace, proof.processor_pace, proof.transfer) > 0
    emulated = replace(card, is_card=False)
    monkeypatch.setattr(devices, "_search", lambda: ((emulated,), ""))
    records._records.cache_clear()
    records._file().unlink()
    kept_plan.cache_clear()
    run_on(image, NAME)
    (record,) = records._records().values()
    (proof,) = map(records._proof, record["proofs"].values())
    assert proof == Proof(Verdict.EXACT)


def test_time_on_a_device_is_that_of_its_pace_the_copies_and_the_start():
    proof = Proof(Verdict.EXACT, pace=2.0, processor_pace=9.0, transfer=0.5)
    work = records.Work(amount=10.0, nbytes=8.0, threads=3)
    assert proof.saving(work) == 9 * 10 / 3 - (2 * 10 + 8 * 0.5 + records.OPENING_S)
    assert Proof(Verdict.EXACT).saving(work) < 0
