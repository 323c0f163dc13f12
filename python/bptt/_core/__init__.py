"""Compiled kernels and what all packages need: argument checks, threads, files."""

from bptt._core import interpreter as _interpreter  # noqa: F401 - refuses before all others
