"""Linear state space systems: discretization, convolution, scan, realization, filtering, control."""
