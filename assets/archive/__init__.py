"""All fetches, write-once (WARC), and the ledger that remembers them."""
