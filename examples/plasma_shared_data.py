"""One process publishes sensor data in shared memory, two others read it in place.

No cluster is started: this is `rayc.plasma` alone, for those who had `pyarrow.plasma`.
The program starts a store (`plasma_store`) and three processes.

publisher
    Makes a batch of readings after the other. Each becomes an Arrow record batch, written
    straight into shared memory, and a numpy array (an image of the sensors) beside it.
statistics
    Is told by the store of each new batch, and computes means over the Arrow columns.
viewer
    Knows the names of the images beforehand, waits for each, and looks for the hottest spot.

The readers copy nothing: their columns and arrays lie in the memory that the publisher wrote,
and cannot be written to. What they print says where it lies, and how long it took to get it.

    pip install pyarrow
    python examples/plasma_shared_data.py
    python examples/plasma_shared_data.py --batches 20 --rows 2000000

Without pyarrow the batches are numpy arrays too, and the program says so.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import multiprocessing
import time
from typing import Any

import numpy as np

from rayc import plasma

HAVE_ARROW = importlib.util.find_spec("pyarrow") is not None

# Metadata is for what a reader must know before it looks at the bytes.
BATCH = b"batch"
LAST_BATCH = b"last batch"
IMAGE_SHAPE = (1000, 1000)


def image_id(number: int) -> plasma.ObjectID:
    """A name that publisher and reader agree on without talking to each other."""
    return plasma.ObjectID(hashlib.sha224(f"image {number}".encode()).digest())


# ---- the publisher ----


def make_readings(number: int, rows: int) -> dict[str, np.ndarray[Any, Any]]:
    random = np.random.default_rng(number)
    return {
        "sensor": random.integers(0, 100, rows),
        "temperature": random.normal(20 + number, 5, rows),
    }


def publish_batch(client: plasma.PlasmaClient, number: int, rows: int, last: bool) -> int:
    """Write a batch into the store; returns its size."""
    readings = make_readings(number, rows)
    object_id = plasma.ObjectID.from_random()
    metadata = LAST_BATCH if last else BATCH
    if HAVE_ARROW:
        import pyarrow as pa

        batch = pa.record_batch(readings)
        size = measure(batch)
        buffer = client.create(object_id, size, metadata)
        sink = pa.FixedSizeBufferWriter(pa.py_buffer(buffer))
        with pa.ipc.new_stream(sink, batch.schema) as writer:
            writer.write_batch(batch)
        del sink, writer
        client.seal(object_id)
        return int(size)
    table = np.stack([readings["sensor"].astype(float), readings["temperature"]])
    client.put_raw_buffer(table, object_id, metadata)
    return table.nbytes


def measure(batch: Any) -> int:
    """How many bytes the batch has as an Arrow stream."""
    import pyarrow as pa

    sink = pa.MockOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return int(sink.size())


def publish(socket: str, batches: int, rows: int) -> None:
    with plasma.connect(socket) as client:
        for number in range(batches):
            size = publish_batch(client, number, rows, last=number == batches - 1)
            image = np.random.default_rng(number).random(IMAGE_SHAPE)
            client.put(image, image_id(number))
            print(f"publisher:  batch {number}, {size / 1e6:.1f} MB, and its image", flush=True)
            time.sleep(0.05)


# ---- the readers ----


def read_batch(buffer: plasma.PlasmaBuffer) -> tuple[int, float, bool]:
    """(rows, mean temperature, whether the column lies in the store)"""
    if HAVE_ARROW:
        import pyarrow as pa
        import pyarrow.compute as pc

        batch = pa.ipc.open_stream(pa.BufferReader(buffer)).read_next_batch()
        column = batch.column("temperature")
        address = column.buffers()[1].address
        rows, mean = batch.num_rows, pc.mean(column).as_py()
    else:
        column = np.frombuffer(buffer).reshape(2, -1)[1]
        address = column.ctypes.data
        rows, mean = column.size, float(column.mean())
    return rows, mean, buffer.address <= address < buffer.address + buffer.size


def compute_statistics(client: plasma.PlasmaClient) -> None:
    """Follow the notifications of the store; `client` has subscribed already."""
    number = 0
    last = False
    while not last:
        object_id, size, _ = client.get_next_notification()
        if size < 0:
            continue  # an object that is gone
        start = time.perf_counter()
        [(metadata, buffer)] = client.get_buffers([object_id], with_meta=True)
        if buffer is None or metadata not in (BATCH, LAST_BATCH):
            continue
        took_us = (time.perf_counter() - start) * 1e6
        rows, mean, in_place = read_batch(buffer)
        where = "in place" if in_place else "copied"
        print(
            f"statistics: batch {number}, {rows:,} rows {where}, got in {took_us:.0f} us: "
            f"mean temperature {mean:.2f}",
            flush=True,
        )
        number += 1
        last = metadata == LAST_BATCH


def statistics(socket: str, ready: Any) -> None:
    with plasma.connect(socket) as client:
        client.subscribe()
        ready.set()
        compute_statistics(client)


def view_images(socket: str, batches: int) -> None:
    with plasma.connect(socket) as client:
        for number in range(batches):
            image = client.get(image_id(number), timeout_ms=60_000)
            row, column = divmod(int(image.argmax()), IMAGE_SHAPE[1])
            owner = "a copy" if image.flags.owndata else "in place"
            writable = "writable" if image.flags.writeable else "read-only"
            print(
                f"viewer:     image {number}, {owner}, {writable}: hottest at ({row}, {column})",
                flush=True,
            )


# ---- the whole ----


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--batches", type=int, default=5)
    parser.add_argument("--rows", type=int, default=500_000)
    arguments = parser.parse_args()
    if HAVE_ARROW:
        print("batches are Arrow record batches")
    else:
        print("pyarrow is not installed: batches are numpy arrays (pip install pyarrow)")
    # Room for all of it; with `spill_folders=[...]` a smaller store would do.
    batch_bytes = 16 * arguments.rows + (1 << 20)
    image_bytes = 8 * IMAGE_SHAPE[0] * IMAGE_SHAPE[1] + (1 << 20)
    memory = (64 << 20) + arguments.batches * (batch_bytes + image_bytes)

    context = multiprocessing.get_context("spawn")
    with plasma.start_plasma_store(memory) as (socket, _process):
        ready = context.Event()
        processes = [
            context.Process(target=statistics, args=(socket, ready)),
            context.Process(target=view_images, args=(socket, arguments.batches)),
        ]
        for process in processes:
            process.start()
        ready.wait(60)
        processes.append(
            context.Process(target=publish, args=(socket, arguments.batches, arguments.rows))
        )
        processes[-1].start()
        for process in processes:
            process.join()
        # Sealed objects outlive the client that made them.
        with plasma.connect(socket) as client:
            usage = client.usage()
            print(
                f"the store holds {len(client.list())} objects of processes that are gone, "
                f"{usage['used'] / 1e6:.1f} of {usage['capacity'] / 1e6:.1f} MB"
            )
        if any(process.exitcode != 0 for process in processes):
            raise SystemExit("a process has failed")


if __name__ == "__main__":
    main()
