"""Sources named by an absolute path: the program opens them, the store never shows the path."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePath

from advassay.spec.source_spec import PhantomSource, ReportedSource, ReportSpec, SlideSource, Source, TableSource
from advassay.spec.study_spec import Study
from advassay.spec.tile_spec import SlideClasses


def split_absolute_path(source: Source, data: Path | None) -> tuple[Source, Path | None]:
    """The source as the store knows it, and the folder its path starts from.

    A source at /a/b/images is `images` in the folder /a/b. What a cohort was prepared from is then recognised by its
    content wherever it lies, and a store whose study.yaml holds only the last name can still be asked what is done. A
    table and its reports, or slides and their table, in different folders stay as they are written.
    """
    if isinstance(source, PhantomSource) or not PurePath(source.path).is_absolute():
        return source, data
    folder = PurePath(source.path).parent
    if isinstance(source, SlideSource) and any(PurePath(path).parent != folder for path in _places(source.classes)):
        return source, data
    if isinstance(source, ReportedSource) and source.reports and PurePath(source.reports.path).parent != folder:
        return source, data
    if isinstance(source, TableSource) and source.images and PurePath(source.images).parent != folder:
        return source, data
    changes: dict[str, object] = {"path": _last(source.path)}
    if isinstance(source, SlideSource):
        changes["classes"] = _classes(source.classes)
    if isinstance(source, ReportedSource) and source.reports is not None:
        changes["reports"] = source.reports.model_copy(update={"path": _last(source.reports.path)})
    if isinstance(source, TableSource) and source.images is not None:
        changes["images"] = _last(source.images)
    return source.model_copy(update=changes), Path(folder)


def redact_paths(study: Study) -> Study:
    """The study as its store keeps it: of every absolute path only the last name."""
    sources: Mapping[str, Source] = {name: redact_source_folders(source) for name, source in study.sources.items()}
    cohorts = {
        name: cohort.model_copy(update={"region": cohort.region.without_folders()}) if cohort.region else cohort
        for name, cohort in study.cohorts.items()
    }
    return study.model_copy(update={"sources": dict(sources), "cohorts": cohorts})


def redact_source_folders(source: Source) -> Source:
    """The source with the last name of each absolute path."""
    if isinstance(source, PhantomSource):
        return source
    changes: dict[str, object] = {"path": _last(source.path)}
    if isinstance(source, SlideSource):
        changes["classes"] = _classes(source.classes)
    if isinstance(source, ReportedSource) and source.reports is not None:
        changes["reports"] = _reports(source.reports)
    if isinstance(source, TableSource) and source.images is not None:
        changes["images"] = _last(source.images)
    return source.model_copy(update=changes)


def _reports(reports: ReportSpec) -> ReportSpec:
    language = None if reports.language is None else _last(reports.language)
    return reports.model_copy(update={"path": _last(reports.path), "language": language})


def _classes(classes: SlideClasses) -> SlideClasses:
    given = classes.model_dump(include={"table", "annotations", "masks"}, exclude_none=True)
    return classes.model_copy(update={name: _last(path) for name, path in given.items()})


def _places(classes: SlideClasses) -> list[str]:
    return [path for path in (classes.table, classes.annotations, classes.masks) if path is not None]


def _last(path: str) -> str:
    return PurePath(path).name if PurePath(path).is_absolute() else path
