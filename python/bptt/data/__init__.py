"""Sequences, targets and minibatches."""
