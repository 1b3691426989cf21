"""Pages of GeoJSON, as OGC's servers give them: the features of one, and what it says beside them.

Shared by the protocols whose records are GeoJSON features; what is said beside them means what each protocol says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from assets.protocols.answers.json_pages import records_of

if TYPE_CHECKING:
    from assets.payload import Payload
    from assets.tables.readers.batches import Order


def features_in(body: Payload, order: Order) -> tuple[dict[str, Any], list[Any]]:
    """The page and its features, as they stand there. Raises UnreadableSource where the body is no such page."""
    page = next(iter(records_of(body, (), order)), None)
    features = page.get("features") if isinstance(page, dict) else None
    if not isinstance(page, dict) or not isinstance(features, list):
        raise order.refuse("a page without a list of features", "look at the archived body")
    return page, features
