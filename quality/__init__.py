"""Judgement only: contracts, expectations, leakage, rights. Imports nothing else of Madang."""
