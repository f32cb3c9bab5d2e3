"""Use cases, one noun each. They know no wire format and no AWS SDK."""
