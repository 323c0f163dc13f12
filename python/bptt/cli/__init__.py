"""Commands that take a file of sequences to a trained model, and to what the model says."""
