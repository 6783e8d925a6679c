"""The plasma store on its own: the program, and rayc.plasma. No cluster runs."""

import gc
import multiprocessing
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from rayc import plasma

MIB = 1 << 20
CAPACITY = 64 * MIB


def find_program():
    beside = os.path.join(os.path.dirname(os.path.dirname(plasma.__file__)), "bin", "plasma_store")
    found = beside if os.path.exists(beside) else shutil.which("plasma_store")
    return os.environ.get("RAYC_PLASMA_STORE", found)


def start_store(socket, size="64M"):
    process = subprocess.Popen([find_program(), "-m", size, "-s", socket], stderr=subprocess.PIPE)
    plasma.connect(socket, num_retries=50).disconnect()
    return process


@pytest.fixture
def store(tmp_path):
    socket = str(tmp_path / "plasma")
    process = start_store(socket)
    yield socket
    process.terminate()
    assert process.wait(5) == 0
    assert process.stderr.read() == b""
    assert not os.path.exists(socket)


@pytest.fixture
def client(store):
    with plasma.connect(store) as connected:
        yield connected


def eventually(condition):
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.01)
    return False


def test_import_is_light():
    code = (
        "import sys, rayc.plasma; "
        "print([m for m in ('rayc._raylet', 'numpy', 'cloudpickle') if m in sys.modules])"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert out.strip() == "[]"


@pytest.mark.parametrize(
    "value",
    [None, 0, "text", b"bytes", {"a": [1, 2.5, (3,)]}, 2**200, float("-inf"), "\ud800"],
)
def test_values_come_back(client, value):
    assert client.get(client.put(value)) == value


def test_arrays_are_views_of_the_store_and_read_only(store, client):
    array = np.arange(MIB, dtype=np.int64)
    object_id = client.put({"x": array, "y": [array[:10], "tail"]})
    with plasma.connect(store) as other:
        got = other.get(object_id)
    np.testing.assert_array_equal(got["x"], array)
    np.testing.assert_array_equal(got["y"][0], array[:10])
    assert not got["x"].flags.writeable
    assert not got["x"].flags.owndata
    assert got["x"].ctypes.data % 64 == 0
    with pytest.raises(ValueError):
        got["x"][0] = 1


def test_a_view_of_a_view_keeps_the_object(store, client):
    object_id = client.put(np.full(MIB, 7, dtype=np.uint8))
    piece = client.get(object_id)[1000:2000:3]
    client.delete([object_id])
    assert not client.contains(object_id)
    client.disconnect()
    gc.collect()
    with plasma.connect(store) as other:
        for _ in range(CAPACITY // MIB - 1):  # all that is free
            other.put_raw_buffer(bytes(MIB - 64))
        assert (piece == 7).all()
        del piece
        assert eventually(lambda: try_put(other, MIB - 64))


def try_put(client, size):
    try:
        client.put_raw_buffer(bytes(size))
        return True
    except plasma.PlasmaStoreFull:
        return False


def test_create_write_seal(client):
    object_id = plasma.ObjectID.from_random()
    buffer = client.create(object_id, 100, metadata=b"\x00meta\xff")
    assert buffer.is_mutable and len(buffer) == buffer.size == 100
    view = np.frombuffer(buffer, dtype=np.uint8)
    view[:] = 5
    memoryview(buffer)[0] = 6
    assert not client.contains(object_id)
    assert client.list()[object_id]["state"] == "created"
    client.seal(object_id)
    assert not buffer.is_mutable
    with pytest.raises(TypeError):
        memoryview(buffer)[0] = 1
    with pytest.raises(BufferError):
        buffer.write(0, b"x")
    [(metadata, got)] = client.get_buffers([object_id], with_meta=True)
    assert metadata == b"\x00meta\xff"
    assert got.to_pybytes() == b"\x06" + b"\x05" * 99
    assert client.get_metadata([object_id]) == [metadata]
    entry = client.list()[object_id]
    assert entry["state"] == "sealed" and entry["data_size"] == 100 and entry["metadata_size"] == 6
    assert entry["created_by_pid"] == os.getpid()


def test_seal_without_keeping_the_buffer(client):
    object_id = plasma.ObjectID.from_random()
    np.frombuffer(client.create(object_id, 8), dtype=np.int64)[:] = 42
    client.seal(object_id)
    [buffer] = client.get_buffers([object_id])
    assert np.frombuffer(buffer, dtype=np.int64)[0] == 42
    del buffer
    assert eventually(lambda: client.list()[object_id]["ref_count"] == 0)


def test_abort(client):
    object_id = plasma.ObjectID.from_random()
    buffer = client.create(object_id, 100)
    view = memoryview(buffer)
    with pytest.raises(BufferError):
        client.abort(object_id)
    view.release()
    client.abort(object_id)
    with pytest.raises(BufferError):
        memoryview(buffer)
    with pytest.raises(BufferError):
        buffer.to_pybytes()
    client.create(object_id, 50)
    client.seal(object_id)
    assert len(client.get_buffers([object_id])[0]) == 50


def test_named_errors(client):
    object_id = client.put(1)
    with pytest.raises(plasma.PlasmaObjectExists, match=object_id.hex()):
        client.create(object_id, 10)
    with pytest.raises(ValueError, match="sealed already"):
        client.seal(object_id)
    with pytest.raises(plasma.PlasmaObjectNonexistent):
        client.seal(plasma.ObjectID.from_random())
    with pytest.raises(plasma.PlasmaObjectNonexistent):
        client.abort(plasma.ObjectID.from_random())
    with pytest.raises(ValueError, match="negative"):
        client.create(plasma.ObjectID.from_random(), -1)
    with pytest.raises(ValueError, match="28 bytes, not 20"):
        plasma.ObjectID(b"x" * 20)
    with pytest.raises(plasma.PlasmaStoreFull, match=r"65.0 MiB.*64.0 MiB"):
        client.create(plasma.ObjectID.from_random(), 65 * MIB)
    kept = client.put_raw_buffer(bytes(60 * MIB))
    with pytest.raises(plasma.PlasmaStoreFull, match=kept.hex()):
        client.put_raw_buffer(bytes(10 * MIB))
    assert client.get(object_id) == 1
    raw = client.put_raw_buffer(b"raw")
    with pytest.raises(ValueError, match="get_buffers"):
        client.get(raw)
    with pytest.raises(TypeError):
        client.get_buffers([b"x" * 28])


def test_empty_object(client):
    object_id = client.put_raw_buffer(b"")
    assert bytes(client.get_buffers([object_id])[0]) == b""


def test_object_ids():
    object_id = plasma.ObjectID.from_random()
    same = plasma.ObjectID(object_id.binary())
    assert same == object_id and hash(same) == hash(object_id) and len({same, object_id}) == 1
    assert object_id != plasma.ObjectID.from_random() and object_id != 3
    assert pickle.loads(pickle.dumps(object_id)) == object_id
    assert object_id.hex() in repr(object_id) and len(object_id.binary()) == plasma.ObjectID.size()


def test_get_waits_and_gives_up(store, client):
    object_id = plasma.ObjectID.from_random()
    start = time.monotonic()
    assert client.get(object_id, timeout_ms=50) is plasma.ObjectNotAvailable
    assert 0.04 < time.monotonic() - start < 5
    there = client.put("there")
    assert client.get([there, object_id], timeout_ms=0) == ["there", plasma.ObjectNotAvailable]
    assert client.get_buffers([object_id], timeout_ms=0) == [None]
    assert client.get_buffers([object_id], timeout_ms=0, with_meta=True) == [(None, None)]
    thread = threading.Timer(0.3, lambda: client.put("late", object_id))
    thread.start()
    assert client.get(object_id) == "late"
    thread.join()


def test_ctrl_c_ends_a_waiting_get(store):
    code = (
        "import sys; from rayc import plasma; c = plasma.connect(sys.argv[1])\n"
        "print('up', flush=True)\n"
        "try: c.get(plasma.ObjectID.from_random())\n"
        "except KeyboardInterrupt: print('interrupted', flush=True)\n"
        "print(c.get(c.put(1)))"
    )
    child = subprocess.Popen([sys.executable, "-c", code, store], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "up\n"
    time.sleep(0.1)
    start = time.monotonic()
    child.send_signal(signal.SIGINT)
    assert child.communicate(timeout=10)[0] == "interrupted\n1\n"
    assert time.monotonic() - start < 2


def test_disconnect(store):
    client = plasma.connect(store)
    array = client.get(client.put(np.arange(1000)))
    unsealed = client.create(plasma.ObjectID.from_random(), 10)
    client.disconnect()
    np.testing.assert_array_equal(array, np.arange(1000))
    for call in (
        lambda: client.put(1),
        lambda: client.list(),
        lambda: client.get(plasma.ObjectID.from_random(), timeout_ms=0),
    ):
        with pytest.raises(plasma.PlasmaConnectionError):
            call()
    client.disconnect()  # again: nothing to do
    with plasma.connect(store) as other:
        del unsealed
        assert eventually(lambda: len(other.list()) == 1)


def test_store_that_dies_under_its_client(tmp_path):
    socket = str(tmp_path / "plasma")
    process = start_store(socket)
    client = plasma.connect(socket)
    array = client.get(client.put(np.arange(1000)))
    process.kill()
    process.wait()
    with pytest.raises(plasma.PlasmaConnectionError):
        client.put(1)
    with pytest.raises(ConnectionError):
        plasma.connect(socket)
    np.testing.assert_array_equal(array, np.arange(1000))
    second = start_store(socket)  # takes the dead one's socket over
    second.terminate()
    assert second.wait(5) == 0


def test_killed_client_leaves_what_it_sealed(store, client):
    code = (
        "import sys, time; from rayc import plasma; c = plasma.connect(sys.argv[1])\n"
        "o = c.put(list(range(10))); v = c.get_buffers([o])\n"
        "b = c.create(plasma.ObjectID.from_random(), 1 << 20)\n"
        "print(o.hex(), flush=True); time.sleep(100)"
    )
    child = subprocess.Popen([sys.executable, "-c", code, store], stdout=subprocess.PIPE, text=True)
    object_id = plasma.ObjectID(bytes.fromhex(child.stdout.readline().strip()))
    assert client.list()[object_id]["ref_count"] == 1 and len(client.list()) == 2
    child.kill()
    child.communicate()
    assert eventually(lambda: len(client.list()) == 1)
    assert client.list()[object_id]["ref_count"] == 0
    assert client.get(object_id) == list(range(10))


def test_forked_child(client):
    object_id = client.put(np.arange(1000))
    array = client.get(object_id)

    def in_child(queue):
        nonlocal array
        total = int(array.sum())
        try:
            client.get(object_id)
        except plasma.PlasmaConnectionError:
            queue.put(total)
        del array

    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=in_child, args=(queue,))
    child.start()
    assert queue.get(timeout=10) == int(np.arange(1000).sum())
    child.join()
    assert client.list()[object_id]["ref_count"] == 1
    assert (client.get(object_id) == array).all()


def test_many_threads(store):
    client = plasma.connect(store)
    errors = []

    def work(number):
        try:
            for i in range(100):
                array = np.full(i * 50, number)
                object_id = client.put(array)
                got = client.get(object_id)
                client.delete([object_id])
                assert (got == array).all()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert eventually(lambda: client.list() == {})
    client.disconnect()


def run_program(*arguments):
    return subprocess.run([find_program(), *arguments], capture_output=True, text=True, timeout=10)


def test_program_says_what_is_wrong(store, tmp_path):
    helped = run_program("--help")
    assert helped.returncode == 0 and "usage: plasma_store" in helped.stdout
    assert run_program("--version").returncode == 0
    for arguments in ("", "-m 1G", "-s /tmp/x", "-m lots -s /tmp/x", "-q", "-m", "-m 1G -s /x y"):
        wrong = run_program(*arguments.split())
        assert wrong.returncode == 2 and wrong.stderr.startswith("plasma_store: "), arguments
    taken = run_program("-m", "1M", "-s", store)
    assert taken.returncode == 1 and store in taken.stderr
    huge = run_program("-m", "900000G", "-s", str(tmp_path / "huge"))
    assert huge.returncode == 1 and "no memory" in huge.stderr
    nowhere = run_program("-m", "1M", "-s", "/nonexistent/socket")
    assert nowhere.returncode == 1 and "/nonexistent/socket" in nowhere.stderr
    file = tmp_path / "file"
    file.write_text("precious")
    blocked = run_program("-m", "1M", "-s", str(file))
    assert blocked.returncode == 1 and file.read_text() == "precious"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_program_ends_cleanly(tmp_path, number):
    socket = str(tmp_path / "plasma")
    process = start_store(socket)
    process.send_signal(number)
    assert process.wait(5) == 0
    assert not os.path.exists(socket)
