"""The stages of a study, resumable, under the store's lock."""

from advassay.former_names import keep_callable

keep_callable(__name__, "advassay.study.run.runner:run", "advassay.study.run.runner.run")
