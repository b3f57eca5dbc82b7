"""What a study consists of and what its store lacks; nothing is written."""
