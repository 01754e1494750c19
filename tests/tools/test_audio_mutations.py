import random

import pytest

from tools.audio_mutants import SEEDS, whole
from tools.audio_mutations import _FIELDS, FAMILIES, mutate


@pytest.mark.parametrize("family", FAMILIES)
def test_every_field_is_there(family):
    files = [whole(name).data for name, seed in SEEDS.items() if seed.family == family]
    for marker, _, _ in _FIELDS[family].values():
        assert any(marker in data for data in files)


@pytest.mark.parametrize("name", SEEDS)
def test_the_same_seed_gives_the_same_mutant(name):
    wholes = [whole("wav"), whole("mp3"), whole(name)]
    first, second = random.Random(3), random.Random(3)
    mutants = [mutate(wholes[-1], wholes, first) for _ in range(60)]
    assert mutants == [mutate(wholes[-1], wholes, second) for _ in range(60)]
    assert any(mutation.startswith("lie: ") for mutation, _ in mutants)
    assert sum(data != wholes[-1].data for _, data in mutants) > 50
