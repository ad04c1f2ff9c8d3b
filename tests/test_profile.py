"""``--profile``: a trace and a table of the parts of training steps."""

from __future__ import annotations

import gzip
import json

from helpers.programs import start
from helpers.workplace import Workplace


def test_steps_are_recorded_with_their_parts(workplace: Workplace) -> None:
    code, out, error = start(workplace.flags(profile=2, batch_size=2, max_epochs=3))
    assert code == 0, error
    with gzip.open(workplace.experiment() / "profile.json.gz", "rt") as stream:
        names = [event.get("name", "") for event in json.load(stream)["traceEvents"]]
    # Forward pass, and backward pass with the update: twice a step.
    assert names.count("step: network") == 4
    assert names.count("aten::nll_loss_forward") == 2
    assert "step: network" in out


def test_a_run_that_is_too_short_says_so(workplace: Workplace) -> None:
    code, _, error = start(workplace.flags(profile=1000, max_epochs=1))
    assert code == 0
    assert "--profile: this run ended before" in error
    assert not (workplace.experiment() / "profile.json.gz").exists()
