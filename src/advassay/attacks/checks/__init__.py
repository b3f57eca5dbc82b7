"""checks: the arguments, the network and its gradient, before the first step."""
