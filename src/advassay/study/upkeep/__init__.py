"""What is done to a store afterwards: merge, forget, prune."""
