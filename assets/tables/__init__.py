"""From archived bytes to a judged table: decode, read, stage, judge, merge, swap the index."""
