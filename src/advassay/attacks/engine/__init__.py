"""engine: preflight, the batch scheduler and the float32 verifier."""
