"""Beyond trajectories: searches for the worst case over several attacks, and images on which an attack must succeed."""
