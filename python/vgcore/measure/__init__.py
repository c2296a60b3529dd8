"""What a net does: probes, sweeps, Jacobians, clipping, and tidy tables of what was measured."""
