"""Sequence decoding: beam search and sampling."""
