"""Parts of .ci/wheels.py."""
