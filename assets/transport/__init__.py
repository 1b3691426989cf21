"""Clients that open sockets to agencies, and nothing else does: limits, redaction, address rules."""
