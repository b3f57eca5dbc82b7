"""One file a kind of source. Each registers itself (spec.source_spec.SOURCE_KINDS); nothing else lists them."""
