"""The explorer: a net under sliders, measured anew at every move, with real backpropagation."""
