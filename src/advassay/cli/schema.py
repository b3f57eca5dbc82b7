"""`advassay schema`: every field of a study file with its meaning."""

from __future__ import annotations

from advassay.cli.error_handling import cli_errors


@cli_errors
def schema() -> None:
    """Print the JSON schema of study files: every field with its type, limits, default and meaning.

    Editors complete and check study files with it.

    Example:

        advassay schema > study.schema.json
    """
    import json

    from advassay.spec.study_spec import Study

    print(json.dumps(Study.model_json_schema(), indent=2, ensure_ascii=False))
