"""The model of a workflow and its rules. Pure: no AWS, no HTTP, no clock."""
