"""What to change, each change run."""
