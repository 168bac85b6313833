"""What a victim learns from protected images."""
