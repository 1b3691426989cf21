"""Declared products: split, write, describe, prove and release a training set."""
