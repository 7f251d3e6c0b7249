"""Linear systems: discretization, convolution, scan, realization, filtering and control."""
