"""One typed facade per AWS service; a service's errors become ours here."""
