"""What a release says of itself: card, Croissant, manifest, profile, rights, schema. Pure functions of `Facts`."""
