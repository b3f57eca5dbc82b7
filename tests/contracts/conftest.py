"""The distribution that test_extensions.py installs is no test, and must not be on the path of this process."""

collect_ignore = ["heavy_ball"]
