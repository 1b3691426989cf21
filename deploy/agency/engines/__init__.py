"""The protocols that the stand-in agency speaks, one module each. What an engine is: `deploy/agency/engine.py`."""
