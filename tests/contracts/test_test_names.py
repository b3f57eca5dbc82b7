"""pytest imports test modules by bare name, so two of the same name stop the whole run."""

from collections import Counter
from pathlib import Path


def test_no_two_test_modules_share_a_name():
    seen = Counter(path.name for path in Path(__file__).parents[1].rglob("test_*.py"))
    assert [name for name, count in seen.items() if count > 1] == []
