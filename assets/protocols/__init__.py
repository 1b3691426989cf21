"""How agencies speak: one module a protocol, all of the shape in `kernel.py`, driven by `fetching.py`."""
