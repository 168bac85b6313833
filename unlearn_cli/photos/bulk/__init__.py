"""Protecting any number of photos as a stream, from and to object storage, in threads or by Ray."""
