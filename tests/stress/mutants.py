"""Mutants of a Python module: every place where one small change of the code is a plausible mistake."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import CodeType

COMPARE: dict[type, tuple[type, ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
ARITHMETIC: dict[type, type] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}
# Functions and methods of which one is easily taken for the other.
TWINS = dict(
    pair
    for one, other in (
        ("min", "max"),
        ("amin", "amax"),
        ("argmin", "argmax"),
        ("minimum", "maximum"),
        ("any", "all"),
        ("floor", "ceil"),
        ("zeros", "ones"),
        ("zeros_like", "ones_like"),
        ("sum", "mean"),
    )
    for pair in ((one, other), (other, one))
)
# Calls that are easily forgotten: the mutant has the bare value.
FORGOTTEN = {
    "abs",
    "clamp",
    "clip",
    "detach",
    "round",
    "exp",
    "log",
    "sqrt",
    "float",
    "double",
    "sorted",
    "relu",
}
# What is no code that runs, or only says something.
SILENT_FIELDS = {"annotation", "returns", "decorator_list", "ctx", "type_comment"}
SILENT = (ast.JoinedStr, ast.Import, ast.ImportFrom, ast.Global, ast.Nonlocal, ast.Raise)


@dataclass(frozen=True)
class Mutant:
    """``old`` becomes ``new`` in one field of ``owner``; ``lines`` is the statement's span."""

    owner: ast.AST
    field: str
    place: int | None
    old: ast.AST
    new: ast.AST
    lines: tuple[int, int]
    in_function: bool

    def __str__(self) -> str:
        return f"{self.lines[0]}: {one_line(self.old)}  ->  {one_line(self.new)}"

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The module's tree has the change inside of the ``with`` block."""
        self._put(self.new)
        try:
            yield
        finally:
            self._put(self.old)

    def _put(self, node: ast.AST) -> None:
        if self.place is None:
            setattr(self.owner, self.field, node)
        else:
            getattr(self.owner, self.field)[self.place] = node


def one_line(node: ast.AST) -> str:
    if isinstance(node, ast.If):
        return f"if {ast.unparse(node.test)}"
    return " ".join(ast.unparse(node).split())[:100]


def mutants_of(tree: ast.Module) -> list[Mutant]:
    return list(_below(tree, (0, 0), False))


def _below(owner: ast.AST, lines: tuple[int, int], in_function: bool) -> Iterator[Mutant]:
    for field, value in ast.iter_fields(owner):
        if field in SILENT_FIELDS:
            continue
        # A function's defaults are evaluated where it is defined, its body where it is called.
        inside = in_function or (isinstance(owner, ast.FunctionDef | ast.Lambda) and field == "body")
        nodes = value if isinstance(value, list) else [value]
        for place, node in enumerate(nodes):
            if not isinstance(node, ast.AST) or (isinstance(node, ast.keyword) and node.arg == "strict"):
                continue  # a check of zip that nothing fails
            span = _span(node, lines)
            # An `if` is one change of its test, whatever is below it.
            at = _span(node.test, lines) if isinstance(node, ast.If) else span
            if isinstance(node, ast.Continue | ast.Break):
                at = (span[0] - 1, span[1])  # the compiler may join it with the test before it
            for new in _variants(node):
                ast.copy_location(new, node)
                ast.fix_missing_locations(new)
                yield Mutant(owner, field, place if isinstance(value, list) else None, node, new, at, inside)
            if not isinstance(node, SILENT):
                yield from _below(node, span, inside)


def _span(node: ast.AST, lines: tuple[int, int]) -> tuple[int, int]:
    """A plain statement's lines; of one with a body only those of the part that ``node`` is in."""
    within_plain = lines != (0, 0) and not isinstance(node, ast.stmt)
    if within_plain or not hasattr(node, "lineno"):
        return lines
    if isinstance(node, ast.stmt) and hasattr(node, "body"):
        return (0, 0)
    return (node.lineno, node.end_lineno)  # type: ignore[attr-defined]


def _variants(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.Compare(left=left, ops=[op], comparators=right):
            yield from (ast.Compare(left, [new()], right) for new in COMPARE[type(op)])
        case ast.BinOp(left=left, op=op, right=right) if type(op) in ARITHMETIC:
            yield ast.BinOp(left, ARITHMETIC[type(op)](), right)
        case ast.AugAssign(target=target, op=op, value=value) if type(op) in ARITHMETIC:
            yield ast.AugAssign(target, ARITHMETIC[type(op)](), value)
            yield ast.Pass()
        case ast.BoolOp(op=op, values=values):
            yield ast.BoolOp(ast.Or() if isinstance(op, ast.And) else ast.And(), values)
            yield from (values[:1] if len(values) == 2 else [])
        case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.Invert(), operand=operand):
            yield operand
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(value)):
            yield ast.Constant(value + 1)
            yield ast.Constant(value - 1)
        case ast.Constant(value=float(value)):
            yield ast.Constant(value + 1 if value.is_integer() else value * 2)
        case ast.IfExp(test=test, body=body, orelse=orelse):
            yield ast.IfExp(test, orelse, body)
        case ast.If(test=test, body=body, orelse=orelse):
            yield ast.If(ast.UnaryOp(ast.Not(), test), body, orelse)
        case ast.Slice(lower=lower, upper=upper, step=step) if lower or upper:
            yield ast.Slice(None, upper, step) if lower else ast.Slice(lower, None, step)
        case ast.Call():
            yield from _calls(node)
        case ast.Return(value=value) if value is not None and not _is_none(value):
            yield ast.Return(ast.Constant(None))
        case ast.Expr(value=ast.Call()) | ast.Raise() | ast.Continue() | ast.Break():
            yield ast.Pass()


def _calls(node: ast.Call) -> Iterator[ast.AST]:
    match node.func:
        case ast.Attribute(value=value, attr=name):
            if name in TWINS:
                yield ast.Call(ast.Attribute(value, TWINS[name], ast.Load()), node.args, node.keywords)
            if name.rstrip("_") in FORGOTTEN:
                is_module = isinstance(value, ast.Name) and value.id in ("torch", "np", "math", "F")
                yield node.args[0] if is_module else value
        case ast.Name(id=name):
            if name in TWINS and name != "sum":
                yield ast.Call(ast.Name(TWINS[name], ast.Load()), node.args, node.keywords)
            if name in FORGOTTEN and name != "float" and node.args:
                yield node.args[0]


def _is_none(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def codes_of(code: CodeType) -> Iterator[CodeType]:
    """A module's code and all codes in it."""
    yield code
    for part in code.co_consts:
        if isinstance(part, CodeType):
            yield from codes_of(part)
