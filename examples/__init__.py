"""Workflows to learn from, and ``make demo``. A client of the public API: imports nothing of ``chalicelib``.

====================  =====================================================================
``demo``              the story that ``make demo`` tells: real data in, a report out
``api_client``        the four requests that it makes
``runs``              what the nodes of a run are doing, read out of the API's answer
``live_view``         the same in the terminal, while it happens
``picture``           the same as an SVG picture, afterwards
``*.json``            small workflows, each with trigger inputs and the output to expect
``weather/``          the demo's data and workflow
====================  =====================================================================
"""
