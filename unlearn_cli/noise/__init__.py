"""How noise is made."""
