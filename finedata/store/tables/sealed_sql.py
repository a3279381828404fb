"""SQL that reads the dataset's tables and nothing else.

Polars' SQL opens any file of the machine: `select * from read_csv('/any/file')`, and has no switch
against it. A condition or a query may come from a colleague, a web page or a model, so every text
is parsed before a file is opened, and what is not plainly a SELECT over known tables is refused.

Polars parses with another parser than ours, and two parsers may read one text in two ways
(comments, escapes, quotes). So Polars never sees the user's text, only the words that we parsed,
each written anew in the one spelling on which both agree. Behind this stand two belts that need
no understanding of the grammar: no word that begins as Polars' file readers do may be called, and
Polars is given only the tables that the query names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from finedata.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

# The nearest to Polars of sqlglot's dialects: EXCLUDE, REPLACE, QUALIFY, ILIKE, SEMI JOIN, //.
_DIALECT = "duckdb"
_WORD = re.compile(r"[A-Za-z_][A-Za-z_0-9]*(\s+[A-Za-z_][A-Za-z_0-9]*)*", re.ASCII)
_NUMBER = re.compile(r"(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_OPERATOR = re.compile(r"(?!.*(--|/\*|\*/))[-+*/%<>=!|&^~,.;:()\[\]?@#{}]+", re.ASCII)
_FILE_READER = re.compile(r"(read|scan|sink|write)_", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class SealedQuery:
    """A query that was parsed and found to read nothing but the dataset's tables.

    Attributes:
        text: What Polars may run.
        tables: The dataset's tables that it names, in the order in which they were given.
    """

    text: str
    tables: tuple[str, ...]


def seal_query(query: str, *, tables: Sequence[str], next_command: str = "") -> SealedQuery:
    """Parse a query, and refuse it unless it is one SELECT over these tables.

    Subqueries, common table expressions, set operations, joins, VALUES and UNNEST of a column are
    SELECT's own; table functions, other statements and other tables are not.

    Args:
        query: The user's text.
        tables: Names of the dataset's tables.
        next_command: What the error tells to do.

    Raises:
        UsageError: It does not parse, is no SELECT, calls a table function, or names a table that
            is not there.
    """
    seal = _Seal(place="the query", tables=tuple(tables), next_command=next_command)
    return seal.select(seal.tokens(query))


def seal_condition(
    condition: str, *, over: str, column: str, tables: Sequence[str], next_command: str = ""
) -> SealedQuery:
    """Parse a condition over one table, and give the query for a column of the rows that meet it.

    Args:
        condition: The user's text: a boolean expression, which may hold subqueries over `tables`.
        over: The table whose columns it names.
        column: The column to select.
        tables: Names of the dataset's tables.
        next_command: What the error tells to do.

    Raises:
        UsageError: It is no expression (more follows it, or it is a query of its own), calls a
            table function, or names a table that is not there.
    """
    from sqlglot import exp

    seal = _Seal(place="the condition", tables=tuple(tables), next_command=next_command)
    inner = seal.tokens(condition)
    # Parsed alone first: what needs our brackets to make sense is no condition.
    if isinstance(seal.parse(inner, into=exp.Condition), exp.Query):
        raise seal.refusal(found="a query", wanted="a condition")
    head = seal.tokens(f'select "{column}" from "{over}" where (')
    return seal.select([*head, *inner, *seal.tokens(")")])


@dataclass(frozen=True, slots=True)
class _Seal:
    place: str
    tables: tuple[str, ...]
    next_command: str

    def refusal(self, *, found: str, wanted: str = "") -> UsageError:
        wanted = wanted or f"SQL over {', '.join(self.tables)}"
        return UsageError(
            place=self.place, found=found, wanted=wanted, next_command=self.next_command
        )

    def tokens(self, text: str) -> list[Any]:
        """Cut a text into tokens and refuse those whose spelling two parsers may read in two ways.

        Comments are gone after this.
        """
        from sqlglot import tokenize
        from sqlglot.errors import SqlglotError

        try:
            found: list[Any] = tokenize(text, read=_DIALECT)
        except SqlglotError as error:
            raise self.refusal(found=_first_line(error)) from error
        while found and found[-1].text == ";" and _kind(found[-1]) == "SEMICOLON":
            found.pop()
        if not found:
            raise self.refusal(found="nothing")
        for token, following in zip(found, [*found[1:], None], strict=True):
            if _spelled(token) is None:
                raise self.refusal(
                    found=f"{token.text!r} as a {_kind(token).lower().replace('_', ' ')}"
                )
            called = following is not None and _kind(following) == "L_PAREN"
            if called and _kind(token) != "STRING" and _FILE_READER.match(token.text):
                raise self.refusal(found=f"the table function {token.text.lower()}")
        return found

    def parse(self, tokens: list[Any], into: Any = None) -> Any:
        """One statement out of tokens, or one expression of the kind `into`."""
        from sqlglot import Dialect
        from sqlglot.errors import SqlglotError

        dialect: Any = Dialect.get_or_raise(_DIALECT)
        text = _text(tokens)
        try:
            parsed = dialect.parse_into(into, text) if into else dialect.parse(text)
        except (SqlglotError, RecursionError) as error:
            found, wanted = _first_line(error), ""
            if into:
                found, wanted = repr(text), "one boolean expression"
            raise self.refusal(found=found, wanted=wanted) from error
        if len(parsed) != 1 or parsed[0] is None:
            raise self.refusal(found=f"{len(parsed)} statements", wanted="one")
        return parsed[0]

    def select(self, tokens: list[Any]) -> SealedQuery:
        """Parse a whole query and check its tree."""
        from sqlglot import exp

        # Looked at before: of a statement that it does not know, sqlglot keeps the text and warns.
        if _kind(tokens[0]) not in ("SELECT", "WITH", "L_PAREN", "FROM"):
            raise self.refusal(
                found=f"a statement that begins with {tokens[0].text}", wanted="SELECT or WITH"
            )
        parsed = self.parse(tokens)
        self._check_query(parsed)
        nodes: list[Any] = list(parsed.walk())
        known = {name.lower() for name in self.tables}
        known |= {node.alias.lower() for node in nodes if isinstance(node, exp.CTE)}
        named: set[str] = set()
        for node in nodes:
            if isinstance(node, exp.Into | exp.Lateral | exp.Command):
                raise self.refusal(found=node.key.upper(), wanted="SELECT or WITH")
            if isinstance(node, exp.CTE | exp.Subquery):
                self._check_query(node.this)
            if isinstance(node, exp.From | exp.Join):
                self._check_source(node.this)
            if isinstance(node, exp.Table):
                self._check_source(node)
                name = node.name.lower()
                if name not in known or node.args.get("db") or node.args.get("catalog"):
                    whole = ".".join(part.name for part in node.parts)
                    raise self.refusal(
                        found=f"the table {whole!r}", wanted=f"one of {', '.join(self.tables)}"
                    )
                named.add(name)
        used = tuple(name for name in self.tables if name.lower() in named)
        return SealedQuery(_text(tokens), used)

    def _check_query(self, query: Any) -> None:
        """Refuse what is no query; a table in brackets is one."""
        from sqlglot import exp

        if not isinstance(query, exp.Select | exp.SetOperation | exp.Subquery | exp.Table):
            raise self.refusal(found=query.key.upper(), wanted="SELECT or WITH")

    def _check_source(self, source: Any) -> None:
        """Refuse what stands in FROM or JOIN and is neither a name, a query, nor UNNEST."""
        from sqlglot import exp

        if isinstance(source, exp.Table):
            called = source.this
            if not isinstance(called, exp.Identifier):
                named = isinstance(called, exp.Anonymous) or not isinstance(called, exp.Func)
                name = called.name if named else called.sql_name().lower()
                raise self.refusal(
                    found=f"the table function {name}", wanted=f"one of {', '.join(self.tables)}"
                )
        elif not isinstance(source, exp.Subquery | exp.Values | exp.Unnest):
            raise self.refusal(
                found=f"{source.key.upper()} as a table", wanted=f"one of {', '.join(self.tables)}"
            )


def _kind(token: Any) -> str:
    return str(token.token_type.name)


def _spelled(token: Any) -> str | None:
    """A token in the spelling on which both parsers agree; None where there is none."""
    kind, text = _kind(token), str(token.text)
    if kind == "STRING":
        return "'" + text.replace("'", "''") + "'"
    if kind == "IDENTIFIER":
        return '"' + text.replace('"', '""') + '"'
    if kind == "NUMBER":
        return text if _NUMBER.fullmatch(text) else None
    if kind.endswith("STRING") or kind in ("HINT", "PARAMETER"):
        return None
    return text if _WORD.fullmatch(text) or _OPERATOR.fullmatch(text) else None


def _text(tokens: list[Any]) -> str:
    """Tokens in canonical spelling, a space between any two.

    None stands behind a point and an exclamation mark, or `.5` and `!~` would fall apart.
    """
    words = [_spelled(token) or "" for token in tokens]
    return "".join(word if word in (".", "!") else f"{word} " for word in words).rstrip()


def _first_line(error: Exception) -> str:
    lines = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).splitlines()
    return lines[0] if lines else type(error).__name__
