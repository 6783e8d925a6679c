"""rayc in one process with wheels that carry a protobuf, a gRPC and an Abseil of their own."""

from collections.abc import Callable

import pytest

USE_RAYC = """
import rayc
rayc.init(num_cpus=1)

@rayc.remote
def double(x):
    return 2 * x

assert rayc.get(double.remote(21)) == 42
"""

USE_NEIGHBOURS = """
from concurrent.futures import ThreadPoolExecutor
import google.protobuf.struct_pb2
import grpc
import pyarrow
import pyarrow.compute

message = google.protobuf.struct_pb2.Struct()
message.update({"x": 1, "y": ["a", "b"]})
copy = google.protobuf.struct_pb2.Struct.FromString(message.SerializeToString())
assert copy["x"] == 1 and list(copy["y"]) == ["a", "b"]

table = pyarrow.table({"x": list(range(1000))})
assert pyarrow.compute.sum(table["x"]).as_py() == 499500

def echo(request, context):
    return request
handler = grpc.method_handlers_generic_handler(
    "Echo", {"Say": grpc.unary_unary_rpc_method_handler(echo)}
)
server = grpc.server(ThreadPoolExecutor(1))
server.add_generic_rpc_handlers((handler,))
port = server.add_insecure_port("127.0.0.1:0")
server.start()
with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
    assert channel.unary_unary("/Echo/Say")(b"hello", timeout=30) == b"hello"
server.stop(None).wait()
"""

FINISH = """
# Both again, now that each has been used beside the other; and values of one through the other.
assert rayc.get(rayc.put(table)).equals(table)
assert rayc.get(double.remote(1)) == 2
assert message == google.protobuf.struct_pb2.Struct.FromString(message.SerializeToString())
rayc.shutdown()
print("done")
"""


@pytest.mark.parametrize(
    "script",
    [USE_RAYC + USE_NEIGHBOURS + FINISH, USE_NEIGHBOURS + USE_RAYC + FINISH],
    ids=["rayc first", "rayc last"],
)
def test_rayc_beside_protobuf_grpc_and_pyarrow(
    run_python: Callable[[str], str], script: str
) -> None:
    assert run_python(script).endswith("done\n")
