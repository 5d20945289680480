"""Which instruments belong to a universe at a time: filters, one per base, ranking."""
