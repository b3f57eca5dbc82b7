"""Who does a study's jobs: this process, or one process of several that share them."""
