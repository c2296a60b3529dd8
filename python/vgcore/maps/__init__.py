"""Maps: nets by the thousand, trained over a grid of what decides whether they train."""
