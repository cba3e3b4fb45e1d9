"""The three stages, each a Lightning module run by `lightning.Trainer`."""
