"""What a net is: kinds, specs, the plan that a spec comes to, and nets with numbers."""
