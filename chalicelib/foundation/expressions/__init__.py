"""Expressions: JSONata in config values, mappings and conditions.

::

    compile_expression("data.user.id").evaluate({"data": {"user": {"id": 7}}})            # 7
    render({"url": "https://x.test/{{ data.user.id }}"}, {"data": {"user": {"id": 7}}})   # {"url": "https://x.test/7"}

Validation asks ``template_faults`` and ``template_references``, the engines ask ``Expression.evaluate`` and
``Template.render``. An expression is evaluated on one document, whose fields are its names: ``data``, ``trigger``,
``nodes``, ``execution``, ``vars``, and in a loop ``loop`` and ``item``. So ``nodes.fetch.body`` is plain JSONata, as
Step Functions would read it.

Whoever edits a workflow writes expressions, and they run in our process. So this package promises: an evaluation ends
with plain JSON or an ``ExpressionError``, within ``Limits`` of time, depth and size; it reads nothing but its
document, changes nothing, and shares nothing with other threads. The parser and most of the evaluator are
jsonata-python's; what had to be bounded or put right is in ``evaluator``, ``functions`` and ``patterns``. That library
raises the recursion limit of the process to 10,000 when it is imported.

Modules, from the bottom: ``limits`` (the meter), ``values`` (null, text, equality), ``patterns`` (regular
expressions), ``functions``, ``messages``, ``syntax`` (source to tree), ``evaluator``, ``direct`` (a shorter way for
simple expressions), ``references``, ``compiled``, ``templates``.
"""

from .compiled import Expression, Names, compile_expression
from .limits import ExpressionError, Limits
from .references import NAMES, References
from .templates import Literal, Template, render, template_faults, template_references, to_text

__all__ = [
    "NAMES",
    "Expression",
    "ExpressionError",
    "Limits",
    "Literal",
    "Names",
    "References",
    "Template",
    "compile_expression",
    "render",
    "template_faults",
    "template_references",
    "to_text",
]
