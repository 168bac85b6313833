"""Finding, decoding, protecting, encoding and safely writing a person's photos. This package never imports torch."""
