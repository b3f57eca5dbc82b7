"""surrogate: the cheaper copy of a network whose gradients steer the attack."""
