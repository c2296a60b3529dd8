"""Layers that are trained one by one before the net is: `pretrain`, and the Boltzmann machines that it may use."""
