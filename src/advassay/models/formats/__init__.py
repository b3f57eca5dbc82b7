"""One file a model format. Each registers itself (models.base.FORMATS); nothing else lists them."""
