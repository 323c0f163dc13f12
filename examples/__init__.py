"""One script for every task of sequence learning, on real data: ``python -m examples``."""
