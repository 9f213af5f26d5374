"""Pages of the manual that are written by the program: commands, errors, environment, registry, modules.

mkdocs calls `on_files`; the tests call the functions that give each page's Markdown.
"""

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).resolve().parents[1] / "src" / "adaptx"


def on_files(files: Any, config: Any) -> Any:
    """Add every generated page to the site."""
    from mkdocs.structure.files import File

    for name, page in PAGES.items():
        files.append(File.generated(config, f"reference/{name}.md", content=page()))
    return files


def verbs(command: Any, path: str = "adaptx") -> Iterator[tuple[str, Any]]:
    """Every command with the words that call it, groups before what is in them."""
    yield path, command
    for name, child in getattr(command, "commands", {}).items():
        yield from verbs(child, f"{path} {name}")


def root() -> Any:
    """The command line as a tree of commands."""
    import typer

    from adaptx.cli import app

    return typer.main.get_command(app)


def _plain(text: str) -> str:
    """Help text in which brackets outside of code are no links; it escapes them for the terminal."""
    parts = text.replace("\\[", "[").split("`")
    return "`".join(p if i % 2 else p.replace("[", "&#91;").replace("<", "&lt;") for i, p in enumerate(parts))


def _row(*cells: str) -> str:
    return "| " + " | ".join(_plain(c).replace("|", "\\|").replace("\n", " ") for c in cells) + " |"


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    return "\n".join([_row(*head), _row(*("---" for _ in head)), *(_row(*r) for r in rows)])


def _default(parameter: Any) -> str:
    value = getattr(parameter.default, "value", parameter.default)
    if parameter.required:
        return "required"
    return "" if value is None or value is False or value == () or callable(value) else f"`{value}`"


def _code(text: str) -> str:
    return f"`{text}`"


def cli() -> str:
    """Every verb: what it does, arguments, options, an example that runs."""
    parts = [
        "# Commands",
        "Generated from the program. Options with a variable in the last column can be set by that environment "
        "variable; the option wins. Exit statuses: 0 it worked, 1 it failed, 2 the command line was wrong, 130 "
        "interrupted.",
    ]
    for path, command in verbs(root()):
        if path == "adaptx":
            continue
        parts.append(f"{'###' if path.count(' ') > 1 else '##'} {path.removeprefix('adaptx ')}")
        parts.append(_plain((command.help or "").strip()))
        arguments = [p for p in command.params if p.param_type_name == "argument"]
        options = [p for p in command.params if p.param_type_name == "option" and p.name != "help"]
        if getattr(command, "commands", None) is None:
            words = " ".join(f"{p.name.upper()}{'...' if p.nargs == -1 else ''}" for p in arguments)
            usage = " ".join([path, *([words] if words else []), *(["[OPTIONS]"] if options else [])])
            parts.append(f"```text\n{usage}\n```")
        rows = [(_code(p.name.upper()), p.help or "", _default(p), "") for p in arguments]
        rows += [(", ".join(map(_code, p.opts)), p.help or "", _default(p), _variable(p)) for p in options]
        if rows:
            parts.append(_table(("", "what", "default", "variable"), rows))
        if command.epilog:
            example = command.epilog.removeprefix("Example: ")
            parts.append(f"Example:\n\n```bash\n{example}\n```")
    return "\n\n".join(parts) + "\n"


def _variable(parameter: Any) -> str:
    return f"`{parameter.envvar}`" if parameter.envvar else ""


def errors() -> str:
    """Every error code with cause and cure."""
    from adaptx.errors import CODES

    parts = [
        "# Errors",
        "Every message reads: code, title, what was given; why it is wrong; what to do. `adaptx explain CODE` prints "
        "the same as this page; `--debug` adds the trace. Codes stay what they are from version to version.",
    ]
    for code, meaning in sorted(CODES.items()):
        parts.append(f"## {code} {meaning.title} {{ #{code.lower()} }}")
        parts += [f"**Cause.** {_plain(meaning.cause)}", f"**Cure.** {_plain(meaning.cure)}"]
    return "\n\n".join(parts) + "\n"


def environment() -> str:
    """Every environment variable, from the options that have one."""
    found: dict[str, tuple[str, set[str], list[str]]] = {}
    for path, command in verbs(root()):
        for p in command.params:
            if p.envvar:
                _, names, places = found.setdefault(p.envvar, (p.help or "", set(), []))
                names.add(p.opts[0])
                places.append(path.removeprefix("adaptx "))
    rows = [
        (_code(name), ", ".join(map(_code, sorted(names))), help_, ", ".join(places))
        for name, (help_, names, places) in sorted(found.items())
    ]
    others = [
        ("`NO_COLOR`", "no colours, wherever output goes"),
        ("`HF_HUB_OFFLINE`", "`1`: never ask the Hugging Face Hub"),
        ("`OMP_NUM_THREADS`", "threads of the processor; results are equal to the bit only for equal numbers"),
        ("`XDG_CACHE_HOME`", "where the cache is by default"),
    ]
    return (
        "# Environment variables\n\nAn option on the command line, or an argument in Python, wins over its "
        "variable.\n\n"
        + _table(("variable", "option", "what", "commands"), rows)
        + "\n\nOf others, these are read:\n\n"
        + _table(("variable", "what"), others)
        + "\n"
    )


def registry() -> str:
    """What is shipped: tasks, methods, backbones, profiles, languages."""
    from adaptx.registry import Registry

    shipped = Registry()
    tasks: list[tuple[str, ...]] = [
        (
            _code(t.id),
            t.title,
            t.kind,
            ", ".join(t.roles),
            t.metrics[0],
            " ".join(t.languages(("hub",))) or "none",
            " ".join(t.languages(("sample",))) or "none",
        )
        for t in shipped.tasks()
    ]
    methods: list[tuple[str, ...]] = [
        (_code(n), m.title, m.family, f"{m.lr:g}", m.reference) for n, m in shipped.methods().items()
    ]
    backbones: list[tuple[str, ...]] = [(_code(n), b.title, b.id, b.licence) for n, b in shipped.backbones().items()]
    profiles: list[tuple[str, ...]] = [
        (_code(n), p.title, p.backbone, ", then ".join(p.sources)) for n, p in shipped.profiles().items()
    ]
    return (
        "\n\n".join(
            [
                "# Tasks, languages, methods",
                "What the package ships. Your own folder (`--registry`) is laid over it; "
                "[your own task](../tutorials/your-task.md) shows how.",
                "## Profiles",
                _table(("profile", "what", "backbone", "data"), profiles),
                "## Tasks",
                _table(
                    ("task", "what", "kind", "roles", "leading metric", "on the Hub", "in the sample corpus"), tasks
                ),
                "## Methods",
                _table(("method", "what", "family", "learning rate", "reference"), methods),
                "## Backbones",
                _table(("backbone", "what", "id", "licence"), backbones),
                "## Languages",
                ", ".join(f"`{code}` {name}" for code, name in shipped.languages().items()) + ".",
            ]
        )
        + "\n"
    )


def modules() -> str:
    """Every module with the first sentence of its docstring, for those who read the source."""
    rows: list[tuple[str, ...]] = []
    for path in sorted(SOURCE.rglob("*.py")):
        name = ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__")
        text = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
        rows.append((_code(name), " ".join(text.split("\n\n")[0].split())))
    return (
        "# Modules\n\nFor reading the source. Only [the Python interface](python.md) is stable; everything below may "
        "change.\n\n" + _table(("module", "what it is for"), rows) + "\n"
    )


PAGES: dict[str, Callable[[], str]] = {
    "cli": cli,
    "errors": errors,
    "environment": environment,
    "registry": registry,
    "modules": modules,
}
