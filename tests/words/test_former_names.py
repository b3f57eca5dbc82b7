"""Names of version 0.1 still work, and say what they are called now."""

from __future__ import annotations

import pytest

from advassay.errors import AdvassayError


def test_functions_whose_name_is_now_a_package_can_be_called_as_before() -> None:
    from advassay import analysis, study

    with pytest.warns(DeprecationWarning, match=r"advassay\.conclusions"), pytest.raises(AttributeError):
        analysis.conclusions("no records")  # type: ignore[operator]
    for name in ("plan", "run"):
        with pytest.warns(DeprecationWarning, match=rf"advassay\.study\.{name}"), pytest.raises(AttributeError):
            getattr(study, name)("no study", "no environment")


def test_former_names_of_study_are_the_new_ones() -> None:
    from advassay import study

    with pytest.warns(DeprecationWarning, match="make_environment"):
        assert study.site is study.make_environment
    with pytest.warns(DeprecationWarning, match="RunEnvironment"):
        assert study.Site is study.RunEnvironment


def test_a_plan_of_a_package_is_found_from_the_package_itself() -> None:
    import advassay

    assert advassay.conclusions.__module__ == "advassay.analysis.conclusions"
    assert issubclass(advassay.errors.SpecError, AdvassayError)


def test_the_execution_configuration_is_found_under_its_former_names():
    from advassay import attacks, store_documents

    assert store_documents.ComputeShape is store_documents.ExecutionConfig
    with pytest.warns(DeprecationWarning, match="tune_batch_size"):
        assert attacks.choose_compute_shape is attacks.tune_batch_size
