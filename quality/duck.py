"""What every DuckDB that works on rows may hold and where it spills, whoever opens it: a table's stages, or Great Expectations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

DEFAULT_THREADS = 2
DEFAULT_MEMORY = "by columns"
"""What DuckDB may hold before it spills: `memory_for` the columns, whatever the number of rows."""


def memory_for(columns: int) -> str:
    """Enough for sorting and writing tables of 800 columns, measured; of 12, 1 GB is sorted no slower so than with 2 GB."""
    return f"{512 + 2 * columns}MB"


def configuration(
    spill: Path, *, columns: int, threads: int = DEFAULT_THREADS, memory_limit: str = DEFAULT_MEMORY
) -> dict[str, Any]:
    """The `config` of a connection that spills into the folder `spill` and never asks the network for an extension.

    `memory_limit`: as DuckDB writes it, "1GB"; `columns`: of the table, for the limit where none is given.
    """
    return {
        "threads": threads,
        "memory_limit": memory_for(columns) if memory_limit == DEFAULT_MEMORY else memory_limit,
        "temp_directory": str(spill),
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
    }
