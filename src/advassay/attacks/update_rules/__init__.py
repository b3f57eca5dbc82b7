"""The update rules there are: each file registers its own."""
