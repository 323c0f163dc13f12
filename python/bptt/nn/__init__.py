"""Modules: recurrent layers, embeddings, output layers, and networks built from them."""
