"""What a noise bank is, and where banks live. No torch in this room."""
