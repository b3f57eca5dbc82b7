"""What a study file may say, as frozen pydantic models: every field with unit and meaning."""
