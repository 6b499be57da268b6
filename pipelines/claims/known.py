"""The claims: what is said, by which verdicts it holds, and the commands that test it.

Every command is a run of `tandem` by itself, measured on one machine; the first condition of a claim is the
one that articles mean, the others are where the answer may turn.
"""

from dataclasses import dataclass
from typing import Final

from pipelines.claims.findings import Reader, Word, archived, served, shipped, traded, trained

BETTER: Final[tuple[Word, ...]] = ("better",)
WORSE: Final[tuple[Word, ...]] = ("worse",)


@dataclass(frozen=True)
class Condition:
    """One command and what is read of its run.

    Attributes:
        key: the folder of its run; conditions of several claims may share one.
        title: for people.
        command: after `tandem`, in words.
        before: commands that it needs, such as exports.
    """

    key: str
    title: str
    command: tuple[str, ...]
    read: Reader
    before: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class Claim:
    """Something that is said.

    Attributes:
        text: as it is said.
        holds: the verdicts on a condition's candidate with which it is true.
    """

    text: str
    holds: tuple[Word, ...]
    conditions: tuple[Condition, ...]


def _compare(model: str, sides: str, *more: str) -> tuple[str, ...]:
    return ("compare", model, "--sides", sides, "--no-mobile", *more)


SERVED = served("p99", "throughput_per_s")
SERVE_DIGITS = _compare("digits_cnn", "tfserving,torchserve")
SERVE_MOBILENET = _compare("mobilenet_v2", "tfserving,torchserve")
IMAGES = _compare("digits_cnn", "torchserve,tfserving", "--runner", "docker")
TRAIN_CNN = ("train", "digits_cnn", "--framework", "keras,torch")
TRAIN_MOBILENET = ("train", "mobilenet_v2", "--framework", "keras,torch", "--seeds", "3")
TRAIN_RNN = ("train", "text_gru", "--framework", "torch,keras")
TWIN, ONNX = "artifacts/claims-twin", "artifacts/claims-onnx2tf"
EPOCHS = trained("epoch_s", "seconds of a warm epoch")
MEMORY = trained("peak_memory_bytes", "peak memory of a training")
ACCURACY = trained("accuracy", "accuracy on held-out samples")
SERVER_MEMORY = traded("peak_memory_bytes", "peak memory of a server")


def _exported(road: str, folder: str) -> tuple[str, ...]:
    return ("export", "digits_cnn", "--targets", "tfserving", "--road", road, "--artifacts", folder)


CLAIMS: Final = (
    Claim(
        "TensorFlow serves faster",
        BETTER,
        (
            Condition("serve-digits", "a tiny CNN, vendors' defaults, REST", SERVE_DIGITS, SERVED),
            Condition(
                "serve-digits-tuned",
                "the same, tuned servers",
                _compare("digits_cnn", "tfserving:tuned,torchserve:tuned"),
                SERVED,
            ),
            Condition(
                "serve-digits-grpc",
                "the same over gRPC",
                _compare("digits_cnn", "tfserving:grpc,torchserve:grpc"),
                SERVED,
            ),
            Condition("serve-mobilenet", "MobileNetV2, JSON over REST", SERVE_MOBILENET, SERVED),
            Condition(
                "serve-mobilenet-grpc",
                "MobileNetV2 over gRPC",
                _compare("mobilenet_v2", "tfserving:grpc,torchserve:grpc"),
                SERVED,
            ),
        ),
    ),
    Claim(
        "TorchServe is less compact",
        WORSE,
        (
            Condition("images", "container images", IMAGES, traded("image_bytes", "size of the image")),
            Condition("serve-digits", "files of a tiny CNN", SERVE_DIGITS, archived),
            Condition("serve-mobilenet", "files of MobileNetV2", SERVE_MOBILENET, archived),
        ),
    ),
    Claim(
        "Training is faster in TensorFlow for CNNs",
        BETTER,
        (
            Condition("train-cnn", "a tiny CNN", TRAIN_CNN, EPOCHS),
            Condition("train-mobilenet", "MobileNetV2", TRAIN_MOBILENET, EPOCHS),
        ),
    ),
    Claim(
        "Training is faster in PyTorch for RNNs",
        BETTER,
        (Condition("train-rnn", "a GRU over lines of text", TRAIN_RNN, EPOCHS),),
    ),
    Claim(
        "PyTorch needs more memory on a CPU",
        WORSE,
        (
            Condition("train-rnn", "training a GRU", TRAIN_RNN, MEMORY),
            Condition(
                "train-cnn-memory",
                "training a tiny CNN",
                ("train", "digits_cnn", "--framework", "torch,keras", "--seeds", "3"),
                MEMORY,
            ),
            Condition("images", "serving a tiny CNN in containers", IMAGES, SERVER_MEMORY),
        ),
    ),
    Claim(
        "Accuracy comes out the same",
        ("equivalent",),
        (
            Condition("train-cnn", "a tiny CNN", TRAIN_CNN, ACCURACY),
            Condition("train-mobilenet", "MobileNetV2", TRAIN_MOBILENET, ACCURACY),
            Condition("train-rnn", "a GRU over lines of text", TRAIN_RNN, ACCURACY),
        ),
    ),
    Claim(
        "TFLite is the lighter way to a device",
        BETTER,
        (
            Condition("mobile-digits", "a tiny CNN", ("mobile", "digits_cnn"), shipped),
            Condition("mobile-mobilenet", "MobileNetV2", ("mobile", "mobilenet_v2"), shipped),
        ),
    ),
    Claim(
        "Going through ONNX costs something",
        WORSE,
        (
            Condition(
                "onnx",
                "a SavedModel by onnx2tf against one by a twin",
                _compare("digits_cnn", f"onnx=tfserving@{ONNX},twin=tfserving@{TWIN}"),
                SERVED,
                (_exported("onnx2tf", ONNX), _exported("twin", TWIN)),
            ),
        ),
    ),
    Claim(
        "A Flask-style server will do",
        ("better", "equivalent"),
        (
            Condition(
                "plain-tfserving",
                "the plain server against TensorFlow's, a tiny CNN",
                _compare("digits_cnn", "python,tfserving"),
                SERVED,
            ),
            Condition(
                "plain-torchserve",
                "the plain server against TorchServe",
                _compare("digits_cnn", "python,torchserve"),
                SERVED,
            ),
            Condition(
                "plain-mobilenet",
                "the plain server against TensorFlow's, MobileNetV2",
                _compare("mobilenet_v2", "python,tfserving"),
                SERVED,
            ),
        ),
    ),
)


def conditions() -> tuple[Condition, ...]:
    """Return one condition for every run that the claims need, in order."""
    return tuple({condition.key: condition for claim in CLAIMS for condition in claim.conditions}.values())
