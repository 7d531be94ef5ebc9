"""What both programs need: a client, the envelope, and to go on after any failure."""

import json
import threading
import time

import etcd3
import grpc

ROOT = "/isthmus/v1/"
LOOK_S = 1.0  # a watch is a hint only: look again at least this often
FAILURES = (etcd3.exceptions.Etcd3Exception, grpc.RpcError, ValueError)


def connect(endpoint, folder):
    """A client known by its certificate: the common name is the etcd user."""
    host, _, port = endpoint.rpartition(":")
    return etcd3.client(
        host=host,
        port=int(port),
        ca_cert=f"{folder}/ca.pem",
        cert_cert=f"{folder}/cert.pem",
        cert_key=f"{folder}/key.pem",
        timeout=5,
    )


def opened(raw):
    """The envelope, or None for what is not one: a foreign mistake must not stop a reader."""
    try:
        value = json.loads(raw)
    except ValueError:
        return None
    return value if isinstance(value, dict) and isinstance(value.get("body"), dict) else None


def read(client, key):
    """Revision and envelope of one key; 0 and None when there is none."""
    raw, meta = client.get(ROOT + key)
    return (0, None) if raw is None else (meta.mod_revision, opened(raw))


def sealed(schema, body, ttl_s=0):
    return json.dumps({"schema": schema, "as_of": time.time(), "ttl_s": ttl_s, "body": body})


def forever(endpoint, folder, watches, look):
    """Call ``look(client)`` at every change below ``watches`` ((range start, is a prefix) pairs), and in any case."""
    pause_s = 0.1
    changed = threading.Event()
    while True:
        client = connect(endpoint, folder)
        try:
            for start, prefix in watches:
                watch = client.add_watch_prefix_callback if prefix else client.add_watch_callback
                watch(ROOT + start, lambda _: changed.set())
            while True:
                changed.clear()
                look(client)
                pause_s = 0.1
                changed.wait(LOOK_S)
        except FAILURES as error:
            print(f"beginning again: {type(error).__name__}: {error}", flush=True)
        finally:
            client.close()
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, 5.0)
