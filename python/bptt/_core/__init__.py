"""Compiled kernels and what all packages need: argument checks, threads, files."""
