"""The conformance kit as a test: a seeded part of its folders for every run; ``make conformance`` runs the whole."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from dadms_orchestrators.decision.conformance import BAR, run_suite, suites, summary

KIT = Path(__file__).parents[2] / ".." / "shared" / "conformance" / "dmn-tck"
SEED, PART = 20_250_101, 40  # folders of about 113; all of level 2 are in it
needs_kit = pytest.mark.skipif(not KIT.is_dir(), reason=f"the conformance kit is not at {KIT}")


@needs_kit
def test_a_part_of_the_kit_passes() -> None:
    folders = suites(KIT)
    chosen = [folder for folder in folders if folder.parent.name.endswith("-2")]
    chosen += random.Random(SEED).sample([folder for folder in folders if folder not in chosen], PART)
    outcomes = [outcome for folder in chosen for outcome in run_suite(folder)]
    rates = summary(outcomes)
    failed = [f"{found.suite} {found.case} {found.node}: {found.why}" for found in outcomes if not found.passed]
    assert len(outcomes) > 500
    assert rates["dmn_level2"] >= BAR, failed
    assert rates["dmn_level3"] >= BAR, failed
    assert rates["dmn_nonnull"] >= BAR, failed
