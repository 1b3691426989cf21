"""What the platform makes: feeds, fetches, tables and training sets, in the order in which data flows.

Every file here but the `assets.py` of a stage is plain Python that works without Dagster. May import `quality`.
"""
