"""The stages of a study, resumable, under the store's lock."""
