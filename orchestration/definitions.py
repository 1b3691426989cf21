"""What Dagster loads (`workspace.yaml`): the definitions of the settings in force. How they are made is `assembly.py`."""

from __future__ import annotations

from orchestration.assembly import build_definitions

defs = build_definitions()
