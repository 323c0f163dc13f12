"""Pretrained networks on the layers of bptt, compared with their original code."""
