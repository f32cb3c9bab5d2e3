"""How Millrace is deployed: CloudFormation templates and the programs that apply them."""
