"""Bad input by the million: values, targets, harnesses, and the table of their results."""
