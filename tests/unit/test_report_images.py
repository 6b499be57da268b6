"""Images and memory of servers that ran in containers."""

from report_fixture import make_run

from pipelines.record.implementation import ImageRecord
from pipelines.record.run import RunRecord
from pipelines.report.html import render_html
from pipelines.report.markdown import render_markdown
from pipelines.report.measured import image_table, memory_table

REFERENCE = "tandem/torchserve:digits_cnn-0123456789ab"


def in_containers(compressed_bytes: int | None = 269_000_000) -> RunRecord:
    run = make_run()
    target = run.targets["torchserve"]
    image = ImageRecord(
        reference=REFERENCE, id="sha256:12", size_bytes=762_000_000, compressed_bytes=compressed_bytes
    )
    changes = {
        "implementation": target.implementation.model_copy(update={"image": image, "runner": "docker"}),
        "memory": target.memory.model_copy(update={"source": "cgroup"}),
    }
    return make_run(targets={**run.targets, "torchserve": target.model_copy(update=changes)})


def test_the_image_of_every_container_is_shown_with_its_sizes() -> None:
    (row,) = image_table(in_containers()).rows
    assert [cell.text for cell in row] == ["torchserve", REFERENCE, "762\u202fMB", "269\u202fMB"]
    for page in (render_html(in_containers()), render_markdown(in_containers())):
        assert "Images" in page
        assert "762" in page


def test_a_size_that_was_not_measured_is_missing_with_its_reason() -> None:
    (row,) = image_table(in_containers(None)).rows
    assert "not measured" in str(row[-1])


def test_local_processes_have_no_images() -> None:
    assert image_table(make_run()).rows == ()
    assert "Images" not in render_markdown(make_run())


def test_the_memory_of_containers_is_not_called_that_of_processes() -> None:
    assert "container" in str(memory_table(in_containers()).remark)
    assert "process tree" in str(memory_table(make_run()).remark)
