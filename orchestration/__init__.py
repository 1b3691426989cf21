"""Dagster, settings and the `madang` command line. May import everything; nothing imports it."""
