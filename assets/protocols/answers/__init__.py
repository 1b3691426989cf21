"""What agencies' answers mean and hold, where a protocol's own module would be too long or two protocols share it.

A module is named by its protocol (`kosis_answers.py`), or by what is shared (`json_pages.py`). Nothing here asks anybody, and
nothing here is a protocol: those are the modules of the folder above, and what drives them is `fetching.py`.
"""
