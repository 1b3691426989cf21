"""One module a file format; each yields the batches of `assets/tables/rows.py` and types nothing. `open.py` is the way in."""
