"""One typed facade per AWS service, and one for the Kubernetes cluster; their errors become ours here."""
