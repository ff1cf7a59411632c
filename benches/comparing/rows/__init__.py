"""Each row of the comparison is one function from a run to its lines."""
