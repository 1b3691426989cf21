"""From an address or a file in hand to a `feed.yaml`: plain functions that the command line, or a web page, renders."""
