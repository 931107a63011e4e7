"""Writes events.tfevents with TensorBoard's own protocol buffers and record writer, and reads it back with TensorBoard.

    pip install tensorboard==2.21.0
    python make.py             write the fixture
    python make.py FILE        show what TensorBoard reads from a file or folder

The Rust test writes the same events and compares the bytes.
"""

import json
import os
import sys
import tempfile

from tensorboard.backend.event_processing import event_accumulator
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary, SummaryMetadata, DATA_CLASS_TENSOR
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.types_pb2 import DT_STRING
from tensorboard.summary.writer.record_writer import RecordWriter

HERE = os.path.dirname(os.path.abspath(__file__))


def text(tag, shape, cells):
    metadata = SummaryMetadata(data_class=DATA_CLASS_TENSOR)
    metadata.plugin_data.plugin_name = "text"
    tensor = TensorProto(dtype=DT_STRING, string_val=[cell.encode() for cell in cells])
    tensor.tensor_shape.CopyFrom(TensorShapeProto(dim=[TensorShapeProto.Dim(size=size) for size in shape]))
    return Summary(value=[Summary.Value(tag=tag, metadata=metadata, tensor=tensor)])


def scalars(**values):
    return Summary(value=[Summary.Value(tag=tag.replace("__", "/"), simple_value=value) for tag, value in values.items()])


def events():
    yield Event(wall_time=1700000000.25, file_version="brain.Event:2")
    yield Event(wall_time=1700000001.5, step=0, summary=scalars(train__loss=0.0, train__reward=-1.5))
    yield Event(wall_time=1700000002.5, step=1, summary=scalars(train__loss=float("nan"), train__reward=0.1))
    yield Event(wall_time=1700000003.5, step=300, summary=scalars(train__loss=float("inf")))
    yield Event(wall_time=1700000004.5, step=2**40, summary=scalars(eval__loss=1e-30))
    yield Event(wall_time=1700000005.5, step=7, summary=text("notes", [], ["**straße** \u2264 1\n\n" + "long " * 60]))
    cells = ["Prompt", "Completion", "Advantage", "2+2=", "", "-0.5"]
    yield Event(wall_time=1700000006.5, step=7, summary=text("completions", [2, 3], cells))
    counts = [0.0] * 30
    counts[0], counts[14], counts[29] = 2.0, 1.0, 1.0
    histogram = HistogramProto(min=0.0, max=1.0, num=4.0, sum=1.5, sum_squares=1.25)
    histogram.bucket_limit.extend(k / 30 for k in range(1, 31))
    histogram.bucket.extend(counts)
    yield Event(wall_time=1700000007.5, step=7, summary=Summary(value=[Summary.Value(tag="gft/coef_hist", histo=histogram)]))
    yield Event(wall_time=1700000008.5, step=301, session_log=SessionLog(status=SessionLog.START))


def show(path):
    accumulator = event_accumulator.EventAccumulator(path, size_guidance={"tensors": 0, "scalars": 0, "histograms": 0})
    accumulator.Reload()
    tags = accumulator.Tags()
    result = {"scalars": {}, "texts": {}, "histograms": {}}
    for tag in tags["scalars"]:
        result["scalars"][tag] = [[e.step, e.value] for e in accumulator.Scalars(tag)]
    for tag in tags["tensors"]:
        metadata = accumulator.SummaryMetadata(tag)
        for e in accumulator.Tensors(tag):
            shape = [dim.size for dim in e.tensor_proto.tensor_shape.dim]
            cells = [cell.decode() for cell in e.tensor_proto.string_val]
            result["texts"].setdefault(tag, []).append([e.step, metadata.plugin_data.plugin_name, shape, cells])
    for tag in tags["histograms"]:
        result["histograms"][tag] = [[e.step, e.histogram_value.num, e.histogram_value.sum] for e in accumulator.Histograms(tag)]
    return result


def main():
    if len(sys.argv) > 1:
        print(json.dumps(show(sys.argv[1]), indent=1, ensure_ascii=False))
        return
    path = os.path.join(HERE, "events.tfevents")
    with open(path, "wb") as file:
        writer = RecordWriter(file)
        for event in events():
            writer.write(event.SerializeToString())
        writer.flush()
    # TensorBoard wants its name in the file's.
    with tempfile.TemporaryDirectory() as folder:
        os.symlink(path, os.path.join(folder, "events.out.tfevents.1700000000.host.1.0"))
        seen = show(folder)
    print(json.dumps(seen, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
