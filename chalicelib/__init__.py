"""Millrace: graphs of nodes, compiled to Step Functions and run in their owner's AWS account.

The map, top to bottom; arrows go down only and import-linter holds them (``[tool.importlinter]`` in pyproject.toml):

====================  ================================================================================
``api``, ``events``   the edges: HTTP routes and Lambda event handlers. They translate, they do not decide
``pod``               one more: the server in the pod of a deployed workflow
``bootstrap``         the one place where everything is wired
``services``          use cases, one noun each
``engines``           run a plan: on Step Functions; one node at a time by ``engines.step``
``store``, ``cloud``  DynamoDB and S3; one typed facade per other AWS service. Reached through bootstrap only
``compiler``          graph -> plan -> Amazon States Language
``nodes``             the catalog: config model, ports and handler of every node type
``graph``             the model of a workflow, its rules and its validation
``foundation``        errors, ids, clock, settings, logs, expressions
====================  ================================================================================

``foundation``, ``graph``, ``nodes`` and ``compiler`` are pure: no AWS, no HTTP framework, no clock of their own.
"""
