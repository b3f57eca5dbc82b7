"""Sources named by an absolute path: the program opens them, the store never shows the path."""

from __future__ import annotations

from pathlib import Path, PurePath

from advassay.spec.rule_spec import data_paths, last_name, map_data_paths
from advassay.spec.source_spec import SOURCE_KINDS, SourceSpec
from advassay.spec.study_spec import Study


def split_absolute_path(source: SourceSpec, data: Path | None) -> tuple[SourceSpec, Path | None]:
    """The source as the store knows it, and the folder its path starts from.

    A source at /a/b/images is `images` in the folder /a/b. What a cohort was prepared from is then recognised by its
    content wherever it lies, and a store whose study.yaml holds only the last name can still be asked what is done. A
    source whose paths lie in different folders (a table and its reports) stays as it is written.
    """
    folders = {PurePath(path).parent for path in data_paths(source)}
    if len(folders) != 1 or not (folder := folders.pop()).is_absolute():
        return source, data
    return map_data_paths(source, last_name), Path(folder)


def redact_paths(study: Study) -> Study:
    """The study as its store keeps it: of every absolute path only the last name."""
    sources = {name: SOURCE_KINDS.get(source.kind).redact(source) for name, source in study.sources.items()}
    cohorts = {
        name: cohort.model_copy(update={"region": cohort.region.without_folders()}) if cohort.region else cohort
        for name, cohort in study.cohorts.items()
    }
    return study.model_copy(update={"sources": sources, "cohorts": cohorts})
