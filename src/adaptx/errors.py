"""Every error a user can meet: a stable code, what was given, why it is wrong, what to do.

This file knows no other module. The table `CODES` is the single list of codes; `adaptx explain` and the
documentation print it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches


@dataclass(frozen=True)
class Code:
    """One kind of error: `title` names it, `cause` says how people get there, `cure` what usually helps."""

    title: str
    cause: str
    cure: str


CODES: dict[str, Code] = {
    "AX001": Code(
        "unknown language",
        "The language code is not in the registry.",
        "See `adaptx ls languages`; add your own with a YAML overlay and --registry DIR.",
    ),
    "AX002": Code(
        "unknown task",
        "The task id is not in the registry.",
        "See `adaptx ls tasks`; add your own with a YAML overlay and --registry DIR.",
    ),
    "AX003": Code("unknown method", "The method id is not in the registry.", "See `adaptx ls methods`."),
    "AX004": Code(
        "unknown backbone",
        "It is neither a registered backbone, nor a folder, nor a Hub id.",
        "See `adaptx ls backbones`; give a folder with config.json and model.safetensors, or ORG/NAME.",
    ),
    "AX005": Code(
        "malformed reference",
        "References read LANG/TASK[:METHOD][@RUN], all lower case.",
        "Write for example sv/anli, sv/anli:lora or sv/anli@3fa9c1.",
    ),
    "AX006": Code(
        "no such adapter",
        "Nothing finished in the store matches the reference.",
        "See `adaptx ls adapters`; train it with `adaptx train-adapter --lang LANG --task TASK`.",
    ),
    "AX007": Code(
        "ambiguous reference",
        "Several adapters match where exactly one is needed.",
        "Add :METHOD or @RUN (a prefix of the run id) to the reference.",
    ),
    "AX010": Code(
        "invalid configuration",
        "A YAML file or an option has missing, unknown or wrong fields.",
        "Fix every field the message lists; `adaptx validate FILE` checks without training.",
    ),
    "AX011": Code("no such file", "A file or folder that was named does not exist.", "Check the path."),
    "AX012": Code(
        "malformed data file",
        "A line or record does not have the form that its format prescribes.",
        "Fix the named line, or describe the format in the task's YAML.",
    ),
    "AX013": Code(
        "no data root",
        "--data-root or ADAPTX_DATA names a folder that does not exist.",
        "Point it at your data, or unset it to use the built-in sample corpus.",
    ),
    "AX014": Code(
        "no data source",
        "The task has no usable source for this language, split and profile.",
        "See `adaptx ls tasks`; add a source with a YAML overlay and --registry DIR.",
    ),
    "AX015": Code(
        "unexpected number of rows",
        "A test set does not have the size that the registry promises.",
        "The file is not the one the score is defined on; restore the original.",
    ),
    "AX016": Code(
        "no usable rows",
        "A file was read but nothing in it could be used.",
        "Check the column map, the row range and --limit.",
    ),
    "AX020": Code(
        "damaged adapter",
        "A file of the adapter folder is missing, truncated or altered.",
        "Train or pull the adapter again; `adaptx show REF` names the file.",
    ),
    "AX021": Code(
        "unsafe file refused",
        "Pickles, symlinks, strange names and code in configs are never loaded.",
        "Convert the weights to safetensors with the tool that made them.",
    ),
    "AX022": Code(
        "wrong backbone",
        "The adapter was trained on other weights than the backbone at hand.",
        "Use the backbone named in the manifest; --allow-backbone-mismatch overrides and is recorded.",
    ),
    "AX023": Code(
        "unreadable manifest",
        "manifest.json is missing, malformed or of an unknown schema version.",
        "Train or pull the adapter again, or upgrade adaptx.",
    ),
    "AX024": Code(
        "already running",
        "Another process is training the same recipe in this store.",
        "Wait for it, or stop it; the lock goes with the process.",
    ),
    "AX030": Code(
        "backbone not available",
        "The backbone's files are neither on disk nor reachable.",
        "Check the id and the network; --profile local works without one.",
    ),
    "AX031": Code(
        "unsupported backbone",
        "Only XLM-R, BERT and RoBERTa style encoders are built.",
        "Choose another backbone; see `adaptx ls backbones`.",
    ),
    "AX032": Code(
        "weights do not fit",
        "Tensors of the checkpoint do not match the model that config.json describes.",
        "The checkpoint is incomplete or of another architecture.",
    ),
    "AX033": Code(
        "package missing",
        "Something that this choice needs and adaptx does not bring is not installed.",
        "Install the extra that the message names; `adaptx doctor` lists them.",
    ),
    "AX040": Code(
        "training diverged", "The loss became infinite or not a number.", "Lower --lr, or use --precision fp32."
    ),
    "AX041": Code(
        "checkpoint does not fit",
        "A checkpoint is damaged or belongs to another recipe.",
        "Remove the named folder to train from the start.",
    ),
    "AX042": Code("out of memory", "The device could not hold the batch.", "Lower --batch-tokens."),
    "AX043": Code(
        "kept states are damaged",
        "A file in which a run keeps the states of its lower layers no longer is what was written.",
        "Run the same command again: it goes on from its checkpoint and computes the states anew.",
    ),
    "AX050": Code(
        "lengths or ids differ",
        "Predictions and references do not describe the same examples.",
        "Evaluate exactly the examples that were predicted, in order.",
    ),
    "AX051": Code(
        "not possible together",
        "The method, the task kind and the options chosen do not combine.",
        "The message names what does.",
    ),
    "AX060": Code(
        "network not reachable",
        "A source on the network was needed and did not answer.",
        "Check the connection; --profile local and --data-root need none.",
    ),
    "AX070": Code(
        "wrong option value", "An option's value is out of range or of the wrong form.", "See `adaptx COMMAND --help`."
    ),
    "AX080": Code(
        "hub not usable",
        "The address is not a hub's, nothing is there, or it may not be read or written.",
        "A hub is a folder, file:///PATH, s3://BUCKET/PREFIX or hf://ORG/NAME.",
    ),
    "AX081": Code(
        "not on the hub",
        "Nothing on the hub matches the reference, the revision or the file.",
        "See `adaptx hub list --hub HUB`.",
    ),
    "AX082": Code(
        "signature not accepted",
        "A signature is missing, wrong, or by a key that is not trusted.",
        "Give the signer's public key with --trust, or pull without --require-signature.",
    ),
    "AX083": Code(
        "not fit to share",
        "A text of the adapter holds a path of this machine, a token or a private key.",
        "Remove it at its source (the data id, the backbone's name) and train again.",
    ),
    "AX084": Code(
        "another version is in the store",
        "The store holds the same run with other content.",
        "Use another --store, or --replace to put the pulled version in its place.",
    ),
    "AX085": Code(
        "foreign adapter does not fit",
        "An adapter made elsewhere does not match the backbone, or uses what adaptx does not build.",
        "Name the backbone that it was trained on with --backbone.",
    ),
    "AX090": Code(
        "not run",
        "A run that this one builds on failed, so it was not started.",
        "See `adaptx study status FILE` for the first failure; run the study again when its cause is gone.",
    ),
    "AX091": Code(
        "worker died",
        "The process that ran a unit of the study ended without an answer, usually for want of memory.",
        "Run the study again with fewer --workers.",
    ),
    "AX092": Code(
        "study not run yet",
        "There are no results of this study in the store.",
        "Run `adaptx study run FILE` with the same file, store and data first.",
    ),
    "AX093": Code(
        "result without provenance",
        "A benchmark result does not say with what, on what and from what it was made.",
        "Take the file out of the folder, or measure again with `adaptx bench cost`.",
    ),
    "AX094": Code(
        "operation counts disagree",
        "The operations counted in a training step and those by formula are more than a factor of two apart.",
        "One of them is wrong for this method; report it with the result.",
    ),
    "AX095": Code(
        "measurement failed",
        "The process of a measurement ended without a result.",
        "See journal.jsonl beside the results; the same command measures again what is missing.",
    ),
    "AX072": Code(
        "file system refused",
        "A file or folder could not be read or written.",
        "Check permissions, free space and that folders are folders.",
    ),
    "AX099": Code("internal error", "A fault of adaptx itself.", "Run again with --debug and report the trace."),
    "AX071": Code(
        "device not available", "The device asked for does not exist here.", "Use --device cpu, or see `adaptx doctor`."
    ),
}


class AdaptxError(Exception):
    """A fault in what was given, never in the program.

    `code`: a key of `CODES`. `given`: the value at fault. `why`: what is wrong with it. `fix`: what to do now
    (the code's general cure where empty).
    """

    def __init__(self, code: str, given: object, why: str, fix: str = "") -> None:
        self.code, self.given, self.why = code, str(given), why
        self.fix = fix or CODES[code].cure
        super().__init__(str(self))

    @property
    def title(self) -> str:
        """The code's name."""
        return CODES[self.code].title

    def __str__(self) -> str:
        return f"{self.code} {self.title}: {self.given}: {self.why} {self.fix}"

    def __reduce__(self) -> tuple[type["AdaptxError"], tuple[str, str, str, str]]:
        return type(self), (self.code, self.given, self.why, self.fix)


def unknown_name(code: str, name: str, known: Iterable[str]) -> AdaptxError:
    """The error for a `name` that is not among the `known` ones, with up to three near misses."""
    listed = sorted(known)
    near = get_close_matches(name, listed, n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(near)}?" if near else f"Known: {', '.join(listed)}."
    return AdaptxError(code, name, f"not known here. {hint}")
