"""How accurate a candidate is, fast: batches of samples with the numbers of the machine, metrics, data."""
