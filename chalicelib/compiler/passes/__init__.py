"""One pass, one file, one function."""
