"""From a bare machine to running processes: programs, tools, private worlds, supervision, etcd.

Import the module you need; this package exports nothing by itself, because ``world`` is started
once per command and must not pay for the others.

- ``binaries``, ``build``: etcd and toxiproxy, found or built from pinned modules
- ``packages``: the system's tools, through apt or by name
- ``kernel_probe``, ``doctor``: what this machine can do, and what it lacks
- ``world``, ``kernel``: private namespaces in which labs and tests live
- ``process_spec``, ``supervised``, ``supervisor``: processes that are owned, restarted, ended
- ``etcd_process``: one etcd member, safe by construction
- ``command``, ``errors``: running other programs, and everything that can go wrong
"""
