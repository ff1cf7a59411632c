"""What `compare`, `soak` and `fill` are made of."""
