"""Exports one trained model to several targets, serves them, measures them and compares them."""

from pipelines.import_path import put_user_entries_last

# Before any other import: the first one could already be of a user's file.
put_user_entries_last()

# From the ground up: a room imports only rooms named before it. The entry of a stage is its `stage.py`.
ROOMS = (
    ("import_path", "Keeps a user's files from hiding the standard library and our packages."),
    ("units", "How many of one unit make another."),
    ("errors", "Errors a person can act on, each with its exit code."),
    ("hosts", "Addresses to listen on: checked, looked up, and written as URLs want them."),
    ("http", "One small HTTP request at a time, never for load."),
    ("access", "Access to running endpoints: headers, whose values stay secret, and certificates."),
    ("console", "Text for people: what a terminal gets, and how figures are written."),
    ("files", "Whole files, regular files, and what a killed command left behind."),
    ("processes", "Child processes: how they start and end, and the guard that outlives us."),
    ("machine", "The machine: its cores and its Java."),
    ("environments", "Python environments of their own, made once, for tools that cannot live beside ours."),
    ("tasks", "Work in processes of its own, with progress and limits."),
    ("record", "What run.json holds."),
    ("artifacts", "What lies on disk: the manifest that proves it, and private copies for servers."),
    ("parity", "The source model, what it answers, and how near an answer has to be."),
    ("roads", "From PyTorch to TensorFlow's formats without a twin, each road proved by parity."),
    ("targets", "One folder per way to deploy a model."),
    (
        "imported",
        "Models that came as files: each in its target's folder, and which is the reference.",
    ),
    ("builds", "Sides that are builds: artifacts of another folder under a name of their own."),
    ("config", "The settings of a run, from profiles, files and options."),
    ("export", "`tandem export`: one trained model into the artifacts of every target."),
    ("init", "`tandem init`: a short commented spec, with what can be read of a trained model filled in."),
    ("check", "`tandem check`: every claim of a spec against the model itself, exporting nothing."),
    ("verify", "`tandem verify`: every artifact against the source model."),
    ("importing", "`tandem import`: existing files, inspected, read, and compared with each other."),
    ("package", "`tandem images`: container images of the same artifacts."),
    ("runners", "Where a server lives: a local process tree, or a container."),
    ("serve", "`tandem serve`, `up` and `down`: servers that stand, and when one is ready."),
    ("judge", "What follows from samples: figures, verdicts, rates."),
    ("report", "Rendering of a run record, for the terminal and as files."),
    ("outputs", "`--output FORMAT=FILE`: what a command found, in the formats that CI reads."),
    ("tensorboard", "`--tensorboard DIR`: a run as TensorBoard reads it."),
    ("measure", "Blocks of fresh servers, rounds under load, and what went on around them."),
    ("run", "One run on disk: how it begins, what it keeps, how it is read again."),
    ("train", "`tandem train`: a model's own training, or one alike in two frameworks, and compared."),
    ("mobile", "`tandem mobile`: what an artifact for a device costs, and how accurate it is."),
    ("compare", "`tandem compare` and `tandem slo`."),
    ("tune", "`tandem tune`: the configuration of a server that sustains most within a limit."),
    ("gate", "`tandem gate`: whether a candidate is worse than its baseline by more than allowed."),
    ("history", "`tandem history` and `tandem runs`: figures over all runs on this disk."),
    ("claims", "`tandem claims`: claims that articles on the two frameworks repeat, tested."),
    ("smoke", "`tandem smoke`: everything a deployment must do, check by check."),
    ("doctor", "`tandem doctor`: what this machine is able to do."),
    ("cli", "The command line: parses, calls a stage, prints, and turns errors into exit codes."),
)
