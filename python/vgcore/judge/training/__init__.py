"""What the steps of a training show: evidence, rules over time, and a verdict."""
