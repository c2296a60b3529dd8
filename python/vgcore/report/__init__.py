"""Results to hand on: comparisons and pages."""
