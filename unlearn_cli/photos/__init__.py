"""A person's files: found, decoded, protected, encoded and written safely. No torch in this room."""
