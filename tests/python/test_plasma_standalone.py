"""The plasma store on its own: the program, and rayc.plasma. No cluster runs."""

import gc
import multiprocessing
import os
import pickle
import select
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from rayc import plasma

MIB = 1 << 20
CAPACITY = 64 * MIB
EXAMPLE = Path(__file__).parents[2] / "examples" / "plasma_shared_data.py"


def find_program():
    beside = os.path.join(os.path.dirname(os.path.dirname(plasma.__file__)), "bin", "plasma_store")
    found = beside if os.path.exists(beside) else shutil.which("plasma_store")
    return os.environ.get("RAYC_PLASMA_STORE", found)


def start_store(socket, *options):
    command = [find_program(), "-m", "64M", "-s", socket, *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    plasma.connect(socket).disconnect()
    return process


def end_store(process, socket):
    process.terminate()
    assert process.wait(5) == 0
    with process.stderr:
        assert process.stderr.read() == b""
    assert not os.path.exists(socket)


@pytest.fixture
def store(request, tmp_path):
    """The socket of a store of 64 MiB; its parameter: options of the program."""
    socket = str(tmp_path / "plasma")
    process = start_store(socket, *getattr(request, "param", ()))
    yield socket
    end_store(process, socket)


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


def new_id():
    return plasma.ObjectID.from_random()


def fill(client, size=MIB):
    """Put objects until the store is full; returns their ids."""
    ids = []
    try:
        while len(ids) < 2 * CAPACITY // size:
            ids.append(client.put_raw_buffer(np.full(size, len(ids) % 251, dtype=np.uint8)))
    except plasma.PlasmaStoreFull:
        return ids
    raise AssertionError("the store is never full")


def can_put(client, size):
    try:
        client.put_raw_buffer(bytes(size))
        return True
    except plasma.PlasmaStoreFull:
        return False


def raises_connection_error(call):
    try:
        call()
    except plasma.PlasmaConnectionError:
        return True
    return False


# ---- values ----


def test_import_is_light():
    code = (
        "import sys, rayc.plasma; heavy = ('rayc._raylet', 'numpy', 'cloudpickle', 'pyarrow'); "
        "print([m for m in heavy if m in sys.modules])"
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
    object_id = client.put(
        {"x": array, "y": [array[:1000], "tail"], "f": np.ones((3, 4), order="F")}
    )
    with plasma.connect(store) as other:
        got = other.get(object_id)
    np.testing.assert_array_equal(got["x"], array)
    np.testing.assert_array_equal(got["y"][0], array[:1000])
    assert got["f"].flags.f_contiguous and (got["f"] == 1).all()
    assert not got["x"].flags.writeable
    assert not got["x"].flags.owndata
    assert got["x"].ctypes.data % 64 == 0
    with pytest.raises(ValueError):
        got["x"][0] = 1


def test_a_view_of_a_view_keeps_the_object(store, client):
    object_id = client.put(np.full(8 * MIB, 7, dtype=np.uint8))
    piece = client.get(object_id)[1000:2000:3]
    client.delete([object_id])
    assert not client.contains(object_id)
    client.disconnect()
    gc.collect()
    with plasma.connect(store) as other:
        fill(other)
        assert (piece == 7).all()
        assert not can_put(other, 4 * MIB)
        del piece
        assert eventually(lambda: can_put(other, 4 * MIB))


def test_raw_buffers(client):
    for value in (
        b"abc",
        bytearray(b"abc"),
        memoryview(b"xabcx")[1:4],
        np.frombuffer(b"abc", "u1"),
    ):
        [buffer] = client.get_buffers([client.put_raw_buffer(value)])
        assert buffer.to_pybytes() == bytes(buffer) == b"abc"
        assert buffer == b"abc" and buffer.equals(bytearray(b"abc")) and buffer != b"abcd"
        assert buffer != 3 and buffer[1] == ord("b") and bytes(buffer[1:]) == b"bc"
        assert list(buffer) == [97, 98, 99] and len(buffer) == buffer.size == 3
    with pytest.raises((BufferError, ValueError)):
        client.put_raw_buffer(np.arange(10)[::2])
    with pytest.raises(TypeError):
        client.put_raw_buffer("text")
    assert len(client.list()) == 4


# ---- create, seal ----


def test_create_write_seal(client):
    object_id = new_id()
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
    with pytest.raises(BufferError, match="sealed"):
        buffer.write(0, b"x")
    [(metadata, got)] = client.get_buffers([object_id], with_meta=True)
    assert metadata == b"\x00meta\xff"
    assert got.to_pybytes() == b"\x06" + b"\x05" * 99
    with pytest.raises(BufferError, match="sealed"):
        got.write(0, b"x")
    [metadata_buffer] = client.get_metadata([object_id])
    assert metadata_buffer.to_pybytes() == metadata and metadata_buffer == metadata
    entry = client.list()[object_id]
    assert entry["state"] == "sealed" and entry["data_size"] == 100 and entry["metadata_size"] == 6
    assert entry["created_by_pid"] == os.getpid() and entry["place"] == "memory"


def test_write(client):
    object_id = new_id()
    buffer = client.create(object_id, 3 * MIB)
    data = np.random.default_rng(1).integers(0, 256, 2 * MIB + 5, dtype=np.uint8)
    buffer.write(7, data)
    buffer.write(0, b"1234567")
    buffer.write(3 * MIB, b"")
    for offset, piece in ((3 * MIB, b"x"), (3 * MIB + 1, b""), (-1, b"x"), (3 * MIB - 1, b"xy")):
        with pytest.raises(IndexError):
            buffer.write(offset, piece)
    client.seal(object_id)
    [got] = client.get_buffers([object_id])
    assert bytes(got[:7]) == b"1234567" and got[7 : 7 + data.size] == data


def test_seal_without_keeping_the_buffer(client):
    object_id = new_id()
    np.frombuffer(client.create(object_id, 8), dtype=np.int64)[:] = 42
    client.seal(object_id)
    assert client.list()[object_id]["ref_count"] == 0
    [buffer] = client.get_buffers([object_id])
    assert np.frombuffer(buffer, dtype=np.int64)[0] == 42
    assert client.list()[object_id]["ref_count"] == 1
    del buffer
    assert client.list()[object_id]["ref_count"] == 0


def test_abort(client):
    object_id = new_id()
    buffer = client.create(object_id, 100)
    view = memoryview(buffer)
    with pytest.raises(BufferError, match="viewed"):
        client.abort(object_id)
    view.release()
    client.abort(object_id)
    for use in (memoryview, bytes, lambda b: b.to_pybytes(), lambda b: b.write(0, b"x")):
        with pytest.raises(BufferError, match="aborted"):
            use(buffer)
    client.create(object_id, 50)
    client.seal(object_id)
    assert len(client.get_buffers([object_id])[0]) == 50


def test_what_is_dropped_unsealed_is_taken_back(store, client):
    with plasma.connect(store) as other:
        other.create(new_id(), MIB)  # nobody has its buffer, but it may be sealed yet
        assert len(client.list()) == 1
    assert eventually(lambda: client.list() == {})
    other = plasma.connect(store)
    buffer = other.create(new_id(), MIB)
    del other
    gc.collect()
    buffer.write(0, b"still there")
    assert bytes(buffer[:11]) == b"still there"
    del buffer
    assert eventually(lambda: client.list() == {})


# ---- errors ----


def test_named_errors(store, client):
    object_id = client.put(1)
    with pytest.raises(ValueError, match="sealed already"):
        client.seal(object_id)
    with pytest.raises(plasma.PlasmaObjectNonexistent):
        client.seal(new_id())
    with pytest.raises(plasma.PlasmaObjectNotFound):
        client.abort(new_id())
    assert client.get(object_id) == 1
    raw = client.put_raw_buffer(b"raw")
    with pytest.raises(ValueError, match="get_buffers"):
        client.get(raw)
    with pytest.raises(TypeError):
        client.get_buffers([b"x" * 28])
    with pytest.raises(TypeError):
        client.create(object_id, "100")
    with pytest.raises(TypeError):
        client.create(new_id(), 100, "text")
    with pytest.raises(TypeError, match="serialization_context"):
        client.put(1, serialization_context=object())
    with pytest.raises(TypeError, match="serialization_context"):
        client.get(object_id, serialization_context=object())
    mine = new_id()
    client.create(mine, 10)
    with plasma.connect(store) as other:
        for call in (other.seal, other.abort):
            with pytest.raises(ValueError, match=f"another client, process {os.getpid()}"):
                call(mine)
    client.seal(mine)
    with pytest.raises(ValueError, match="sealed already"):
        client.abort(mine)
    for error in ("ObjectExists", "ObjectNonexistent", "StoreFull", "ConnectionError"):
        assert issubclass(getattr(plasma, f"Plasma{error}"), plasma.PlasmaError)
    assert issubclass(plasma.PlasmaConnectionError, ConnectionError)


def test_the_same_id_twice(client):
    object_id = new_id()
    buffer = client.create(object_id, 10)
    for _ in range(2):  # while it is written, and when it is sealed
        for call in (
            lambda: client.create(object_id, 10),
            lambda: client.put(1, object_id),
            lambda: client.put_raw_buffer(bytes(2 * MIB), object_id),
            lambda: client.create_and_seal(object_id, b"x"),
        ):
            with pytest.raises(plasma.PlasmaObjectExists, match=object_id.hex()):
                call()
        if buffer.is_mutable:
            buffer.write(0, b"0123456789")
            client.seal(object_id)
    assert buffer == b"0123456789" and len(client.list()) == 1
    first, second = client.get_buffers([object_id, object_id])
    assert first == second and first.address == second.address
    del buffer, first, second
    client.delete([object_id, object_id, new_id()])
    assert client.list() == {}
    client.put("again", object_id)
    assert client.get([object_id, object_id]) == ["again", "again"]


def test_sizes(client):
    empty = client.put_raw_buffer(b"")
    assert client.get_buffers([empty])[0] == b""
    created = new_id()
    buffer = client.create(created, 0)
    assert len(memoryview(buffer)) == 0
    client.seal(created)
    client.delete([created, empty])
    del buffer
    with pytest.raises(ValueError, match="negative"):
        client.create(new_id(), -1)
    with pytest.raises(plasma.PlasmaStoreFull, match=r"65.0 MiB.*64.0 MiB"):
        client.create(new_id(), 65 * MIB)
    with pytest.raises(plasma.PlasmaStoreFull):
        client.create(new_id(), 2**62)
    assert client.list() == {}
    whole = new_id()
    client.create(whole, client.store_capacity()).write(CAPACITY - 3, b"end")
    client.seal(whole)
    [got] = client.get_buffers([whole])
    assert len(got) == CAPACITY and bytes(got[-3:]) == b"end"


def test_full_store(client):
    kept = client.put_raw_buffer(bytes(60 * MIB))
    with pytest.raises(plasma.PlasmaStoreFull, match=kept.hex()) as caught:
        client.put_raw_buffer(bytes(10 * MIB))
    assert "-d" in str(caught.value) and "--evict-lru" in str(caught.value)
    assert list(client.list()) == [kept]
    client.delete([kept])
    assert eventually(lambda: can_put(client, 10 * MIB))


def test_metadata_has_a_limit(client):
    object_id = client.put_raw_buffer(b"x", metadata=b"m" * 60_000)
    assert client.get_metadata([object_id])[0] == b"m" * 60_000
    with pytest.raises(ValueError):
        client.put_raw_buffer(b"x", metadata=bytes(10 * MIB))
    assert len(client.list()) == 1


def test_delete_of_what_others_use(store, client):
    object_id = client.put(np.arange(MIB))
    with plasma.connect(store) as other:
        array = other.get(object_id)
        writing = new_id()
        buffer = other.create(writing, 100)
        client.delete([object_id, writing])
        assert not client.contains(object_id) and object_id not in other.list()
        assert client.get(object_id, timeout_ms=0) is plasma.ObjectNotAvailable
        assert (array == np.arange(MIB)).all()
        used = client.usage()["used"]
        assert used >= array.nbytes
        del array
        assert eventually(lambda: client.usage()["used"] <= used - 8 * MIB)
        buffer.write(0, b"fine")
        del buffer
    assert client.check() == ""


def test_object_ids():
    object_id = new_id()
    same = plasma.ObjectID(object_id.binary())
    assert same == object_id and hash(same) == hash(object_id) and len({same, object_id}) == 1
    assert object_id != new_id() and object_id != 3
    assert pickle.loads(pickle.dumps(object_id)) == object_id
    assert object_id.hex() in repr(object_id) and len(object_id.binary()) == plasma.ObjectID.size()
    of_20_bytes = plasma.ObjectID(20 * b"a")
    assert of_20_bytes.binary() == 20 * b"a" + bytes(8)
    assert plasma.ObjectID(of_20_bytes.binary()) == of_20_bytes == plasma.ObjectID(20 * b"a")
    for length in (0, 1, 19, 21, 27, 29):
        with pytest.raises(ValueError, match=f"28 bytes.*not {length}$"):
            plasma.ObjectID(b"x" * length)
    for other in ("x" * 28, 28, None, bytearray(28)):
        with pytest.raises(TypeError):
            plasma.ObjectID(other)


# ---- waiting ----


def test_get_waits_and_gives_up(store, client):
    object_id = new_id()
    start = time.monotonic()
    assert client.get(object_id, timeout_ms=50) is plasma.ObjectNotAvailable
    assert 0.04 < time.monotonic() - start < 5
    there = client.put("there")
    assert client.get([there, object_id], timeout_ms=0) == ["there", plasma.ObjectNotAvailable]
    assert client.get_buffers([object_id], timeout_ms=0) == [None]
    assert client.get_buffers([object_id], timeout_ms=0, with_meta=True) == [(None, None)]
    assert client.get_metadata([object_id], timeout_ms=0) == [None]
    assert client.get([]) == [] and client.get_buffers([]) == []
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


def test_disconnect_and_the_death_of_the_store_end_what_waits(tmp_path):
    socket = str(tmp_path / "plasma")
    process = start_store(socket)
    ended = []

    def wait(client, call):
        try:
            call(client)
        except plasma.PlasmaConnectionError:
            ended.append(client)

    def start(client, call):
        threads.append(threading.Thread(target=wait, args=(client, call)))
        threads[-1].start()

    threads = []
    clients = [plasma.connect(socket) for _ in range(4)]
    for client in clients[:2]:
        start(client, lambda c: c.get(new_id()))
    for client in clients[2:]:
        client.subscribe()
        start(client, lambda c: c.get_next_notification())
    time.sleep(0.2)
    clients[0].disconnect()
    clients[2].disconnect()
    assert eventually(lambda: set(ended) == {clients[0], clients[2]})
    process.kill()
    process.wait()
    process.stderr.close()
    for thread in threads:
        thread.join(5)
    assert set(ended) == set(clients)
    for client in clients:
        client.disconnect()


# ---- the ends of clients and stores ----


def test_disconnect(store):
    client = plasma.connect(store)
    array = client.get(client.put(np.arange(1000)))
    sealed_id, unsealed_id = new_id(), new_id()
    sealed = client.create(sealed_id, 10)
    client.seal(sealed_id)
    unsealed = client.create(unsealed_id, 10)
    client.disconnect()
    np.testing.assert_array_equal(array, np.arange(1000))
    assert sealed == bytes(10)
    assert not unsealed.is_mutable
    for use in (memoryview, bytes, lambda b: b.to_pybytes(), lambda b: b.write(0, b"x")):
        with pytest.raises(plasma.PlasmaConnectionError, match=unsealed_id.hex()):
            use(unsealed)
    for call in (
        lambda: client.put(1),
        lambda: client.create(new_id(), 1),
        lambda: client.seal(unsealed_id),
        lambda: client.list(),
        lambda: client.contains(sealed_id),
        lambda: client.delete([sealed_id]),
        lambda: client.evict(1),
        lambda: client.subscribe(),
        lambda: client.store_capacity(),
        lambda: client.get(new_id(), timeout_ms=0),
    ):
        with pytest.raises(plasma.PlasmaConnectionError, match="disconnected"):
            call()
    client.disconnect()  # again: nothing to do
    with plasma.connect(store) as other:
        assert eventually(lambda: len(other.list()) == 2)


def test_a_view_that_is_written_through_after_disconnect_harms_nobody(store):
    client = plasma.connect(store)
    view = np.frombuffer(client.create(new_id(), 8 * MIB), dtype=np.uint8)
    client.disconnect()
    with plasma.connect(store) as other:
        ids = fill(other)
        view[:] = 255
        for number, object_id in enumerate(ids):
            assert (np.frombuffer(other.get_buffers([object_id])[0], np.uint8) == number).all()
        del view
        assert eventually(lambda: can_put(other, 4 * MIB))


def test_store_that_dies_under_its_client(tmp_path):
    socket = str(tmp_path / "plasma")
    process = start_store(socket)
    client = plasma.connect(socket)
    array = client.get(client.put(np.arange(1000)))
    object_id = new_id()
    buffer = client.create(object_id, 100)
    process.kill()
    process.wait()
    process.stderr.close()
    for call in (
        lambda: client.list(),
        lambda: client.put(1),
        lambda: client.put_raw_buffer(bytes(4 * MIB)),
        lambda: client.get(new_id(), timeout_ms=10_000),
    ):
        assert eventually(lambda call=call: raises_connection_error(call))
    with pytest.raises(ConnectionError):
        plasma.connect(socket, num_retries=0)
    buffer.write(0, b"into memory that is still mapped")
    np.testing.assert_array_equal(array, np.arange(1000))
    second = start_store(socket)  # takes the dead one's socket over
    end_store(second, socket)


def test_connect_waits_for_the_store(tmp_path):
    socket = str(tmp_path / "plasma")
    start = time.monotonic()
    with pytest.raises(plasma.PlasmaConnectionError, match=socket):
        plasma.connect(socket, num_retries=2)
    assert 0.2 < time.monotonic() - start < 3
    processes = []
    thread = threading.Timer(0.5, lambda: processes.append(start_store(socket)))
    thread.start()
    plasma.connect(socket).disconnect()
    thread.join()
    end_store(processes[0], socket)


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
    unsealed_id = new_id()
    unsealed = client.create(unsealed_id, 100)

    def in_child(queue):
        nonlocal array, unsealed
        total = int(array.sum())
        try:
            client.get(object_id)
        except plasma.PlasmaConnectionError:
            queue.put(total)
        del array, unsealed

    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=in_child, args=(queue,))
    child.start()
    assert queue.get(timeout=10) == int(np.arange(1000).sum())
    child.join()
    assert child.exitcode == 0
    assert client.list()[object_id]["ref_count"] == 1
    assert (client.get(object_id) == array).all()
    unsealed.write(0, b"x")
    client.seal(unsealed_id)


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
    assert client.check() == ""
    client.disconnect()


# ---- a full store ----


def test_evict(client):
    ids = [client.put_raw_buffer(bytes(4 * MIB)) for _ in range(8)]
    [kept] = client.get_buffers(ids[:1])
    [used] = client.get_buffers(ids[1:2])
    del used  # the least recently used is the third now
    assert client.evict(0) == 0
    freed = client.evict(5 * MIB)
    assert freed >= 5 * MIB
    assert [client.contains(object_id) for object_id in ids] == [True, True, False, False] + [
        True
    ] * 4
    assert client.evict(CAPACITY) >= 20 * MIB
    assert list(client.list()) == ids[:1] and kept == bytes(4 * MIB)
    assert client.evict(1) == 0
    with pytest.raises(ValueError, match="negative"):
        client.evict(-1)


@pytest.mark.parametrize("store", [["--evict-lru"]], indirect=True)
def test_a_store_that_evicts(client):
    first = client.put_raw_buffer(b"a" * MIB)
    [kept] = client.get_buffers([first])
    ids = [client.put_raw_buffer(np.full(MIB, n, dtype=np.uint8)) for n in range(200)]
    assert client.contains(first) and kept == b"a" * MIB
    assert not client.contains(ids[0]) and client.contains(ids[-1])
    there = [object_id for object_id in ids if client.contains(object_id)]
    assert there == ids[-len(there) :] and len(there) > 40
    for size in (30 * MIB, 60 * MIB):
        assert client.contains(client.put_raw_buffer(bytes(size)))
    assert client.contains(first)
    with pytest.raises(plasma.PlasmaStoreFull, match=first.hex()):
        client.create(new_id(), CAPACITY)
    assert client.check() == ""


def test_a_store_that_spills(tmp_path):
    socket = str(tmp_path / "plasma")
    folders = [tmp_path / "spill" / name for name in "ab"]
    process = start_store(socket, "-d", str(folders[0]), "-d", str(folders[1]))
    client = plasma.connect(socket)
    arrays = [np.random.default_rng(n).integers(0, 99, MIB // 2) for n in range(48)]
    ids = [client.put(array) for array in arrays]  # three times the store
    usage = client.usage()
    assert usage["spilled"] >= 100 * MIB and usage["used"] <= usage["capacity"] == CAPACITY
    assert {entry["place"] for entry in client.list().values()} == {"memory", "disk"}
    for object_id, array in zip(ids, arrays, strict=True):
        assert client.contains(object_id)
        np.testing.assert_array_equal(client.get(object_id), array)
    client.delete(ids)
    assert eventually(lambda: client.usage()["spilled"] == 0)
    assert client.check() == ""
    client.disconnect()
    end_store(process, socket)
    assert [list(folder.iterdir()) for folder in folders] == [[], []]


# ---- notifications ----


def test_notifications(store, client):
    with pytest.raises(plasma.PlasmaError, match="subscribe"):
        client.get_next_notification()
    client.put("before")
    client.subscribe()
    ids = [new_id() for _ in range(3)]
    with plasma.connect(store) as other:
        for size, object_id in enumerate(ids):
            other.create_and_seal(object_id, bytes(1000 * size), b"m" * size)
        for size, object_id in enumerate(ids):
            assert client.get_next_notification() == (object_id, 1000 * size, size)
        other.delete(ids[:1])
        assert client.get_next_notification() == (ids[0], -1, -1)
        other.evict(1)
        assert client.get_next_notification()[1:] == (-1, -1)


def test_notification_socket(store, client):
    client.subscribe()
    stream = client.get_notification_socket()
    assert client.get_notification_socket() is stream
    assert select.select([stream], [], [], 0)[0] == []
    with plasma.connect(store) as other:
        object_id = other.put_raw_buffer(b"12345", metadata=b"m")
        assert select.select([stream], [], [], 5)[0] == [stream]
        (length,) = struct.unpack("L", stream.recv(8))
        message = stream.recv(length)
        assert client.decode_notifications(message) == ([object_id], [5], [1])
        other.delete([object_id])
        assert client.get_next_notification() == (object_id, -1, -1)
    for wrong in (b"", b"short", message + b"x"):
        with pytest.raises(ValueError, match="not a message"):
            client.decode_notifications(wrong)
    client.disconnect()
    assert stream.fileno() == -1


def test_subscribers_that_are_dropped_leave_nothing(store, client):
    for _ in range(3):
        dropped = plasma.connect(store)
        dropped.subscribe()
        dropped.get_notification_socket()
        del dropped
        gc.collect()
    client.put_raw_buffer(b"x")
    assert eventually(
        lambda: "rayc.plasma.notifications" not in [each.name for each in threading.enumerate()]
    )


def test_a_program_that_ends_without_disconnect(store):
    code = (
        "import sys, threading; from rayc import plasma; c = plasma.connect(sys.argv[1])\n"
        "c.subscribe(); c.get_notification_socket()\n"
        "wait = lambda: c.get(plasma.ObjectID.from_random())\n"
        "threading.Thread(target=wait, daemon=True).start()\n"
        "view = c.get_buffers([c.put(bytes(100))])\n"
        "made = c.create(plasma.ObjectID.from_random(), 9)"
    )
    for _ in range(5):
        done = subprocess.run(
            [sys.executable, "-c", code, store], capture_output=True, text=True, timeout=10
        )
        assert done.returncode == 0 and done.stderr == ""


# ---- what pyarrow.plasma had ----


def test_names_of_pyarrow_plasma(store, client):
    object_id = plasma.ObjectID(20 * b"a")
    assert client.store_socket_name == store
    assert client.store_capacity() == CAPACITY
    assert client.put("value", object_id, 6, None) == object_id
    assert client.get(object_id, -1, None) == "value"
    raw = client.put_raw_buffer(b"raw", None, b"meta", 6)
    assert client.get_buffers([raw], -1, True) == [(b"meta", b"raw")]
    client.create_and_seal(plasma.ObjectID(20 * b"b"), b"data", b"meta")
    assert client.hash(raw) == client.hash(plasma.ObjectID(raw.binary()))
    assert client.hash(raw) != client.hash(object_id) and len(client.hash(raw)) == 8
    assert client.hash(new_id()) == b""
    assert "3 objects" in client.debug_string() and store in client.debug_string()


def test_arrow_through_buffers(store, client):
    pa = pytest.importorskip("pyarrow")
    batch = pa.record_batch({"n": list(range(10_000)), "s": [str(n) for n in range(10_000)]})
    sink = pa.MockOutputStream()
    with pa.RecordBatchStreamWriter(sink, batch.schema) as writer:
        writer.write_batch(batch)
    object_id = new_id()
    buffer = client.create(object_id, sink.size())
    stream = pa.FixedSizeBufferWriter(pa.py_buffer(buffer))
    with pa.RecordBatchStreamWriter(stream, batch.schema) as writer:
        writer.write_batch(batch)
    del stream, writer
    client.seal(object_id)
    with plasma.connect(store) as other:
        [data] = other.get_buffers([object_id])
        read = pa.RecordBatchStreamReader(pa.BufferReader(data)).read_next_batch()
    assert read.equals(batch)
    begin, end = data.address, data.address + data.size
    assert all(begin <= part.address < end for part in read.column("n").buffers() if part)


# ---- the program ----


def run_program(*arguments):
    return subprocess.run([find_program(), *arguments], capture_output=True, text=True, timeout=10)


def test_program_says_what_is_wrong(store, tmp_path):
    helped = run_program("--help")
    assert helped.returncode == 0 and "usage: plasma_store" in helped.stdout
    assert all(option in helped.stdout for option in ("-m", "-s", "-d", "--evict-lru"))
    assert run_program("--version").returncode == 0
    for arguments in (
        [],
        ["-m", "1G"],
        ["-s", "/tmp/x"],
        ["-m", "lots", "-s", "/tmp/x"],
        ["-m", "0", "-s", "/tmp/x"],
        ["-q"],
        ["-m"],
        ["-m", "1G", "-s", "/x", "y"],
        ["-m", "1G", "-s", "/x", "-d", ""],
    ):
        wrong = run_program(*arguments)
        assert wrong.returncode == 2 and wrong.stderr.startswith("plasma_store: "), arguments
    file = tmp_path / "file"
    file.write_text("precious")
    free = str(tmp_path / "free")
    for arguments, named in (
        (["-m", "1M", "-s", store], store),  # another store has it
        (["-m", "900000G", "-s", free], "no memory"),
        (["-m", "1M", "-s", "/nonexistent/socket"], "/nonexistent/socket"),
        (["-m", "1M", "-s", "/" + "x" * 200], "x" * 100),
        (["-m", "1M", "-s", str(file)], str(file)),
        (["-m", "1M", "-s", free, "-d", str(file / "below")], str(file)),
    ):
        blocked = run_program(*arguments)
        assert blocked.returncode == 1 and named in blocked.stderr, arguments
        assert blocked.stderr.startswith("plasma_store: "), arguments
    assert file.read_text() == "precious" and not os.path.exists(free)
    plasma.connect(store).disconnect()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_program_ends_cleanly(tmp_path, number):
    socket = str(tmp_path / "plasma")
    process = start_store(socket)
    client = plasma.connect(socket)
    client.put("still in use")
    process.send_signal(number)
    assert process.wait(5) == 0
    process.stderr.close()
    assert not os.path.exists(socket)
    client.disconnect()


def test_store_of_a_with_statement(monkeypatch):
    monkeypatch.setattr("rayc.plasma._program.find_program", find_program)
    with (
        plasma.start_plasma_store(16 * MIB) as (socket, process),
        plasma.connect(socket) as client,
    ):
        assert client.store_capacity() == 16 * MIB
        assert client.get(client.put("value")) == "value"
    assert process.returncode == 0 and not os.path.exists(os.path.dirname(socket))
    with pytest.raises(plasma.PlasmaError, match="status 2"), plasma.start_plasma_store(0):
        pass


# ---- the example ----


@pytest.mark.parametrize("arrow", [True, False], ids=["pyarrow", "without pyarrow"])
def test_example(arrow, tmp_path):
    if arrow:
        pytest.importorskip("pyarrow")
    else:  # not to be found, neither here nor in the processes that the example starts
        tmp_path.joinpath("sitecustomize.py").write_text(
            "import sys; sys.modules['pyarrow'] = None"
        )
    environment = os.environ | {
        "PATH": os.path.dirname(find_program()) + os.pathsep + os.environ["PATH"],
        "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
    }
    done = subprocess.run(
        [sys.executable, str(EXAMPLE), "--batches=3", "--rows=20000"],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert ("pyarrow is not installed" in done.stdout) != arrow
    assert done.stdout.count("20,000 rows in place") == 3
    assert done.stdout.count("in place, read-only") == 3
    assert "the store holds 6 objects" in done.stdout
