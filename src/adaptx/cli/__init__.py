"""The `adaptx` command: one file per verb, each thin. Errors become one sentence with a code and an exit status."""

import sys

import typer

from adaptx import libraries
from adaptx.cli import (
    bench,
    combine,
    doctor,
    eval_,
    export,
    fuse,
    hub,
    init,
    listing,
    predict,
    show,
    study,
    train,
    trim,
    validate,
)
from adaptx.errors import AdaptxError

app = typer.Typer(
    name="adaptx",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    help="Which source language and which intermediate task to train on before zero-shot transfer, and at what cost.",
    epilog="Example: adaptx train-adapter --lang sv --task anli && adaptx eval fi",
)
app.command("train-adapter", epilog="Example: adaptx train-adapter --lang sv --task anli --method lora")(train.adapter)
app.command("train-full", epilog="Example: adaptx train-full --lang en --task udpos")(train.full)
app.command("eval", epilog="Example: adaptx eval fi --tasks udpos,tatoeba")(eval_.evaluate)
app.command("ls", epilog="Example: adaptx ls adapters")(listing.ls)
app.command("show", epilog="Example: adaptx show sv/anli")(show.show)
app.command("predict", epilog='Example: adaptx predict en/udpos "Kissa istuu matolla ."')(predict.predict)
app.command("average", epilog="Example: adaptx average sv/anli@3fa9 sv/anli@77c0")(combine.average)
app.command("combine", epilog='Example: adaptx combine "0.7*fi/mlm + 0.3*et/mlm"')(combine.combine)
app.command("fuse", epilog="Example: adaptx fuse sv/anli en/squad_v1 --task udpos --lang en")(fuse.fuse)
app.command("trim", epilog="Example: adaptx trim --langs fi,sv,en --out small")(trim.trim)
app.command("init", epilog="Example: adaptx init --lang fi --sources en,sv --tasks anli")(init.init)
app.command("validate", epilog="Example: adaptx validate my-registry/tasks/mnli.yaml")(validate.validate)
app.command("doctor", epilog="Example: adaptx doctor --json")(doctor.doctor)
app.command("explain", epilog="Example: adaptx explain AX012")(show.explain)
app.command("export", epilog="Example: adaptx export sv/anli:lora --merged merged")(export.export)
app.add_typer(study.app, name="study")
app.add_typer(hub.app, name="hub")
app.add_typer(bench.app, name="bench")


@app.callback(invoke_without_command=True)
def root(version: bool = typer.Option(False, "--version", help="Print the version.")) -> None:
    """Which source language and which intermediate task to train on before zero-shot transfer, and at what cost."""
    if version:
        from adaptx import __version__

        print(f"adaptx {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command line; exit 0 ok, 1 failed, 2 usage, 130 interrupted."""
    debug = "--debug" in sys.argv
    libraries.ours()
    try:
        app()
    except (AdaptxError, OSError) as fault:
        if debug:
            raise
        error = fault if isinstance(fault, AdaptxError) else refused(fault)
        print(f"{error.code} {error.title}: {error.given}\n  {error.why}\n  {error.fix}", file=sys.stderr)
        sys.exit(1)
    except SystemExit as stop:
        if stop.code == 130:
            _say_interrupted()
        raise
    except KeyboardInterrupt:
        _say_interrupted()
        sys.exit(130)
    except Exception as error:
        if debug:
            raise
        print(
            f"AX099 internal error: {type(error).__name__}: {error}\n  This is a fault of adaptx, not yours. "
            "Run again with --debug and report the trace.",
            file=sys.stderr,
        )
        sys.exit(1)


def _say_interrupted() -> None:
    text = "interrupted. A training run keeps its last checkpoint: the same command goes on from there."
    print(text, file=sys.stderr)


def refused(error: OSError) -> AdaptxError:
    """The file system's complaint as an error of ours."""
    return AdaptxError("AX072", error.filename or type(error).__name__, f"{error.strerror or error}.")
