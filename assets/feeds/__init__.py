"""What an agency declares: the feed model, its loader, and one folder a feed."""
