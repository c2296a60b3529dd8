"""Nets of torch, watched where they are: sizes of signals in a user's own model while it trains."""
