"""Layered drawing of directed graphs, left to right, after Sugiyama, Tagawa and Toda (1981).

``columns`` says in which column each vertex stands, ``order`` who is above whom in a column, ``heights`` how high each
is. They know nothing of workflows: vertices are the numbers from 0, and an edge is a pair of them. ``graph.layout``
asks them, and docs/decisions/0011-layout.md says why no library does.
"""
