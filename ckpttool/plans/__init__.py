"""Plans that people write: several checkpoints loaded, edited, merged, held against assertions, in the order given."""
