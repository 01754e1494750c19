import random

import pytest

from tools.audio_mutants import _SEEDS, _encoded
from tools.audio_mutations import _FIELDS, CONTAINERS, mutate


@pytest.mark.parametrize("form", _SEEDS, ids=lambda form: "-".join(map(str, form)))
def test_every_field_is_where_the_table_says(form):
    data = _encoded(*form)
    for marker, _, _ in _FIELDS[form[0]].values():
        assert marker in data[:200]


@pytest.mark.parametrize("container", CONTAINERS)
def test_the_same_seed_gives_the_same_mutant(container):
    data = next(_encoded(*form) for form in _SEEDS if form[0] == container)
    first, second = random.Random(3), random.Random(3)
    mutants = [mutate(data, container, first) for _ in range(60)]
    assert mutants == [mutate(data, container, second) for _ in range(60)]
    assert any(name.startswith("lie: ") for name, _ in mutants)
    assert sum(mutant != data for _, mutant in mutants) > 50
