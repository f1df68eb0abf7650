"""The comparison of encoders: how long each trains, and on what."""

from __future__ import annotations

import pytest

from benchmarks.encoders import CANDIDATES, Candidate, overrides, pictures_in
from training import recipe as recipes
from training.tasks.distil import DistilConfig
from vsearch.config import EncoderConfig, from_dict


def test_pictures_fill_the_minutes_by_the_mean_step_of_all_phases() -> None:
    task = from_dict(DistilConfig, recipes.read("encoder")["task"])
    # a second a step in every phase: 6 minutes are 360 steps, 30 in each of 12 epochs
    assert pictures_in([1.0] * 4, 6, 12) == 30 * task.batch
    # only the last phase takes time: as many more steps as it is shorter than the whole
    assert pictures_in([0.0, 0.0, 0.0, 1.0], 6, 12) == round(30 / (1 - task.phases[-1])) * task.batch
    assert pictures_in([1e6] * 4, 6, 12) == task.batch  # at least one step


@pytest.mark.parametrize("candidate", CANDIDATES, ids=lambda candidate: candidate.folder)
def test_a_candidate_changes_the_recipe_as_it_says(candidate: Candidate) -> None:
    table = recipes.read("encoder", overrides(candidate, 640, 12))
    assert from_dict(EncoderConfig, table["encoder"]) == candidate.encoder
    task = from_dict(DistilConfig, table["task"])
    assert list(task.sides) == candidate.sides
    assert task.sides[-1] == candidate.side and all(side % 8 == 0 for side in task.sides)
    assert task.epoch_pictures == 640 and table["loop"]["epochs"] == 12
