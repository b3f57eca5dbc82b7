"""From a study file to a `Study`: loading, overrides, scaling, templates."""
