"""Training: what a caller asks for, what came of it, and many nets at once."""
