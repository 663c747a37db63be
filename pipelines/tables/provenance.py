"""Versions of our own code, derived from the sources: nobody raises a number by hand.

The version of a stage is the hash of its import closure below `pipelines/` and `model/`: the modules that it imports,
directly or through others, at module level or inside a function. Of a module counts the syntax tree without docstrings
and comments, and the data files that it reads. Sources are parsed and never imported, so that asking for the version of
what needs torch needs none.
"""

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from pathlib import Path

PLUMBING: Mapping[str, str] = {
    "pipelines.catalog.versions": "names curations, and keeps their files",
    "pipelines.cohort.cohort_files": "lists the files of the inputs; their fingerprints are hashed by value",
    "pipelines.cohort.manifest": "lists the inputs; their fingerprints are hashed by value in every row key",
    "pipelines.cohort.observation": "when the cohort was observed",
    "pipelines.curation.run": "decides which stage runs for which exam",
    "pipelines.curation.stages.curation": "what a run works with; parameters are hashed by value in every row key",
    "pipelines.curation.stages.incremental": "decides which exams are computed, and keeps the others' rows",
    "pipelines.curation.stages.input_digests": "decides of which exams the keys are made",
    "pipelines.curation.stages.stage": "types that stages share; parameters are hashed by value in every row key",
    "pipelines.reports.llm.answers": "keeps answers of language models word for word",
    "pipelines.reports.llm.servers": "which server is asked",
    "pipelines.reports.llm.chat": "carries questions and answers; how answers are read stands in the readers",
    "pipelines.settings": "parameters, hashed by value",
    "pipelines.tables.atomic": "replaces files",
    "pipelines.tables.curation_version": "names curations; what was curated is hashed by value where it counts",
    "pipelines.tables.errors": "words of errors of libraries, for logs",
    "pipelines.tables.file_store": "copies files",
    "pipelines.tables.hashing": "another hash is another key by itself",
    "pipelines.tables.home": "paths",
    "pipelines.tables.locks": "locks",
    "pipelines.tables.lake": "reads and writes tables; a file names the schema that it was written with",
    "pipelines.tables.packaged_files": "fetches files; weights are named by their source",
    "pipelines.tables.provenance": "this module",
    "pipelines.tables.schemas": "a table's schema has a version of its own",
    "pipelines.tables.shards": "which file a row lies in",
    "pipelines.tables.storage_paths": "paths",
    "model.evaluation.predictions": "keeps texts; what each was made from is hashed by value",
    "model.inputs.threads": "how many threads compute, and what waits in a queue",
    "model.petar.hub": "copies checkpoints; their weights are hashed by value",
    "model.training.loggers": "sends numbers of a stage elsewhere",
    "model.training.memory": "estimates memory, for the log and for errors",
    "model.training.results": "keeps what a stage reached",
}
"""Modules that can not change a value, with the reason: neither hashed nor followed."""

_ROOT = Path(__file__).resolve().parents[2]
_PACKAGES = ("pipelines", "model")
_FILE_NAME = re.compile(r"\w[\w.-]*")


@cache
def code_version(*entry_modules: str) -> str:
    """16 hex digits of all code that the entry modules compute by: equal for equal code, whoever wrote it how.

    Args:
        entry_modules: full names, e.g. `pipelines.imaging.reading.exam`; a package stands for its `__init__`.

    Raises:
        ValueError: there is no such module, or it is plumbing.
    """
    return SourceTree(_ROOT).version(*entry_modules)


@dataclass(frozen=True)
class SourceTree:
    """The sources below a folder that holds `pipelines/` and `model/`."""

    root: Path

    def version(self, *entry_modules: str) -> str:
        """See `code_version`."""
        digest = blake2b(digest_size=8)
        for module in self.closure(*entry_modules):
            digest.update(f"{module} {_source(self._path(module)).digest}\n".encode())
            for path in self.data_files(module):
                content = blake2b(path.read_bytes(), digest_size=8).hexdigest()
                digest.update(f"{path.relative_to(self.root).as_posix()} {content}\n".encode())
        return digest.hexdigest()

    def closure(self, *entry_modules: str) -> tuple[str, ...]:
        """The modules whose code counts, in order: the entry modules and what they import, but no plumbing."""
        if plumbing := set(entry_modules) & set(PLUMBING):
            raise ValueError(f"expected modules that compute values, got {', '.join(plumbing)}: name those that do")
        found: set[str] = set()
        todo = list(entry_modules)
        while todo:
            module = todo.pop()
            if module not in found:
                found.add(module)
                todo += [imported for imported in self._imports(module) if imported not in PLUMBING]
        return tuple(sorted(found))

    def data_files(self, module: str) -> tuple[Path, ...]:
        """The files that a module reads beside itself: those that it names, and all in a folder that it names.

        A module reads files where it asks for `__file__` or for `importlib.resources`.
        """
        path = self._path(module)
        found: set[Path] = set()
        for name in _source(path).file_names:
            beside = path.parent / name
            found.update([beside] if beside.is_file() else beside.rglob("*"))
        return tuple(sorted(p for p in found if p.is_file() and p.suffix != ".py" and "__pycache__" not in p.parts))

    def _imports(self, module: str) -> Iterator[str]:
        path = self._path(module)
        package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
        for base, level, names in _source(path).imports:
            origin = ".".join([*package[: len(package) - level + 1], *([base] if base else [])]) if level else base
            # `from package import name`: a module, or else something of the package's own `__init__`.
            for name in names:
                yield from [m for m in (f"{origin}.{name}", origin) if self._find(m)][:1]
            if not names and self._find(origin):
                yield origin

    def _path(self, module: str) -> Path:
        path = self._find(module)
        if path is None:
            raise ValueError(f"expected a module below {' or '.join(_PACKAGES)}, got {module}: correct its name")
        return path

    def _find(self, module: str) -> Path | None:
        """Source of a module; None where it is none of ours."""
        return _find(self.root, module)


@dataclass(frozen=True)
class _Source:
    """What of a source counts."""

    digest: str
    imports: tuple[tuple[str, int, tuple[str, ...]], ...]
    """(module, dots before it, names taken from it); no names: the module as a whole."""
    file_names: frozenset[str]
    """Texts that may name a file beside it; none where it reads no files."""


@cache
def _find(root: Path, module: str) -> Path | None:
    if module.split(".")[0] not in _PACKAGES:
        return None
    stem = root.joinpath(*module.split("."))
    return next((path for path in (stem.with_suffix(".py"), stem / "__init__.py") if path.is_file()), None)


def _source(path: Path) -> _Source:
    return _parsed(path.read_bytes())


@cache
def _parsed(content: bytes) -> _Source:
    parts: list[str] = []
    nodes: list[ast.AST] = []
    _write(ast.parse(content), parts, nodes)
    imports: list[tuple[str, int, tuple[str, ...]]] = []
    texts: set[str] = set()
    reads_files = False
    for node in nodes:
        match node:
            case ast.Import(names):
                imports += [(alias.name, 0, ()) for alias in names]
            case ast.ImportFrom(module, names, level):
                imports.append((module or "", level, tuple(alias.name for alias in names)))
                reads_files |= (module or "").startswith("importlib")
            case ast.Constant(str(text)) if _FILE_NAME.fullmatch(text):
                texts.add(text)
            case ast.Name("__file__"):
                reads_files = True
    digest = blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    return _Source(digest, tuple(imports), frozenset(texts if reads_files else ()))


def _write(node: ast.AST, parts: list[str], nodes: list[ast.AST]) -> None:
    """Writes a syntax tree to `parts`, equally under every version of Python, and puts its nodes into `nodes`.

    Left out are texts that stand alone (docstrings) and what is imported for type checkers alone.
    """
    match node:
        case ast.Expr(ast.Constant(str())) | ast.If(ast.Name("TYPE_CHECKING")):
            return
    nodes.append(node)
    parts.append(f"({type(node).__name__}")
    for name in node._fields:
        value = getattr(node, name, None)
        # What is absent is written by some versions of Python and left out by others.
        if value is not None and value != []:
            parts.append(name)
            for child in value if isinstance(value, list) else (value,):
                if isinstance(child, ast.AST):
                    _write(child, parts, nodes)
                else:
                    parts.append(repr(child))
    parts.append(")")
