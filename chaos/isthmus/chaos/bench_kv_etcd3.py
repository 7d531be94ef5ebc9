"""The same work through the published client ``etcd3``: run by an interpreter that has it, not by ours.

It imports only the standard library and ``etcd3`` (0.12.0 wants protobuf 3.20.3, which our environment
must not have). Reads one line of JSON (host, port, files, puts, keys), prints one line of JSON.
"""

import concurrent.futures
import json
import sys
import time
from typing import Any

THREADS = 64
VALUE = b"v" * 200


def measure(client: Any, puts: int, prefix: str) -> dict[str, float]:
    """Puts, 64 at a time, and one snapshot."""

    def put(number: int) -> None:
        client.put(f"bench/put/{number % 500}", VALUE)

    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(put, range(puts // 4)))
        cpu_s, wall_s = time.process_time(), time.perf_counter()
        list(pool.map(put, range(puts)))
        put_cpu_s, put_wall_s = time.process_time() - cpu_s, time.perf_counter() - wall_s
    cpu_s, wall_s = time.process_time(), time.perf_counter()
    keys = sum(1 for _ in client.get_prefix(prefix))
    return {
        "put_cpu_us": put_cpu_s / puts * 1e6,
        "puts_per_s": puts / put_wall_s,
        "snapshot_keys": keys,
        "snapshot_cpu_s": time.process_time() - cpu_s,
        "snapshot_wall_s": time.perf_counter() - wall_s,
    }


def main() -> None:
    """See the module's docstring."""
    import etcd3

    given = json.loads(sys.stdin.read())
    client = etcd3.client(
        host=given["host"],
        port=given["port"],
        ca_cert=given["ca_file"],
        cert_cert=given["cert_file"],
        cert_key=given["key_file"],
        timeout=60,
        grpc_options={
            "grpc.max_receive_message_length": -1,
            "grpc.ssl_target_name_override": given["server_name"],
        }.items(),
    )
    print(json.dumps(measure(client, given["puts"], given["prefix"])))


if __name__ == "__main__":
    main()
