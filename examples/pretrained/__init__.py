"""Networks that others have trained and ship, run by bptt's layers beside the code they ship."""
