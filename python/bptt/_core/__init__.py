"""The compiled kernels, and what every layer of the package needs around them."""
