"""DynamoDB and S3: ``keys`` describes every item once, repositories hand out domain values."""
