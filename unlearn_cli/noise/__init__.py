"""The making of noise: the methods, their settings and the files that they write."""
