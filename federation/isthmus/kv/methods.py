"""Paths of the etcd calls we make, written out (our wire.proto declares no service, see there).

One table, so that a reader sees the whole surface between us and etcd on one screen. Each entry names
the path and the two message types; :mod:`isthmus.kv.calls` turns it into a callable.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf.message import Message

from isthmus.kv import wire_pb2 as wire

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)


@dataclass(frozen=True, slots=True)
class Method(Generic[Request, Response]):
    """One remote call: its path and what goes in and comes out."""

    path: str
    request: type[Request]
    response: type[Response]


RANGE = Method("/etcdserverpb.KV/Range", wire.RangeRequest, wire.RangeResponse)
RANGE_STREAM = Method("/etcdserverpb.KV/RangeStream", wire.RangeRequest, wire.RangeStreamResponse)
PUT = Method("/etcdserverpb.KV/Put", wire.PutRequest, wire.PutResponse)
DELETE = Method("/etcdserverpb.KV/DeleteRange", wire.DeleteRangeRequest, wire.DeleteRangeResponse)
TXN = Method("/etcdserverpb.KV/Txn", wire.TxnRequest, wire.TxnResponse)
COMPACT = Method("/etcdserverpb.KV/Compact", wire.CompactionRequest, wire.CompactionResponse)

WATCH = Method("/etcdserverpb.Watch/Watch", wire.WatchRequest, wire.WatchResponse)

LEASE_GRANT = Method(
    "/etcdserverpb.Lease/LeaseGrant", wire.LeaseGrantRequest, wire.LeaseGrantResponse
)
LEASE_REVOKE = Method(
    "/etcdserverpb.Lease/LeaseRevoke", wire.LeaseRevokeRequest, wire.LeaseRevokeResponse
)
LEASE_KEEP_ALIVE = Method(
    "/etcdserverpb.Lease/LeaseKeepAlive",
    wire.LeaseKeepAliveRequest,
    wire.LeaseKeepAliveResponse,
)
LEASE_TIME_TO_LIVE = Method(
    "/etcdserverpb.Lease/LeaseTimeToLive",
    wire.LeaseTimeToLiveRequest,
    wire.LeaseTimeToLiveResponse,
)

AUTHENTICATE = Method(
    "/etcdserverpb.Auth/Authenticate", wire.AuthenticateRequest, wire.AuthenticateResponse
)
AUTH_ENABLE = Method("/etcdserverpb.Auth/AuthEnable", wire.AuthEnableRequest, wire.DoneResponse)
AUTH_DISABLE = Method("/etcdserverpb.Auth/AuthDisable", wire.AuthDisableRequest, wire.DoneResponse)
AUTH_STATUS = Method(
    "/etcdserverpb.Auth/AuthStatus", wire.AuthStatusRequest, wire.AuthStatusResponse
)
USER_ADD = Method("/etcdserverpb.Auth/UserAdd", wire.AuthUserAddRequest, wire.DoneResponse)
USER_GET = Method("/etcdserverpb.Auth/UserGet", wire.AuthUserGetRequest, wire.AuthUserGetResponse)
USER_LIST = Method(
    "/etcdserverpb.Auth/UserList", wire.AuthUserListRequest, wire.AuthUserListResponse
)
USER_DELETE = Method("/etcdserverpb.Auth/UserDelete", wire.AuthUserDeleteRequest, wire.DoneResponse)
USER_CHANGE_PASSWORD = Method(
    "/etcdserverpb.Auth/UserChangePassword",
    wire.AuthUserChangePasswordRequest,
    wire.DoneResponse,
)
USER_GRANT_ROLE = Method(
    "/etcdserverpb.Auth/UserGrantRole", wire.AuthUserGrantRoleRequest, wire.DoneResponse
)
USER_REVOKE_ROLE = Method(
    "/etcdserverpb.Auth/UserRevokeRole", wire.AuthUserRevokeRoleRequest, wire.DoneResponse
)
ROLE_ADD = Method("/etcdserverpb.Auth/RoleAdd", wire.AuthRoleAddRequest, wire.DoneResponse)
ROLE_GET = Method("/etcdserverpb.Auth/RoleGet", wire.AuthRoleGetRequest, wire.AuthRoleGetResponse)
ROLE_LIST = Method(
    "/etcdserverpb.Auth/RoleList", wire.AuthRoleListRequest, wire.AuthRoleListResponse
)
ROLE_DELETE = Method("/etcdserverpb.Auth/RoleDelete", wire.AuthRoleDeleteRequest, wire.DoneResponse)
ROLE_GRANT = Method(
    "/etcdserverpb.Auth/RoleGrantPermission",
    wire.AuthRoleGrantPermissionRequest,
    wire.DoneResponse,
)
ROLE_REVOKE = Method(
    "/etcdserverpb.Auth/RoleRevokePermission",
    wire.AuthRoleRevokePermissionRequest,
    wire.DoneResponse,
)

STATUS = Method("/etcdserverpb.Maintenance/Status", wire.StatusRequest, wire.StatusResponse)
ALARM = Method("/etcdserverpb.Maintenance/Alarm", wire.AlarmRequest, wire.AlarmResponse)
DEFRAGMENT = Method(
    "/etcdserverpb.Maintenance/Defragment", wire.DefragmentRequest, wire.DoneResponse
)
MOVE_LEADER = Method(
    "/etcdserverpb.Maintenance/MoveLeader", wire.MoveLeaderRequest, wire.DoneResponse
)

MEMBER_LIST = Method(
    "/etcdserverpb.Cluster/MemberList", wire.MemberListRequest, wire.MemberListResponse
)
MEMBER_ADD = Method(
    "/etcdserverpb.Cluster/MemberAdd", wire.MemberAddRequest, wire.MemberAddResponse
)
MEMBER_REMOVE = Method(
    "/etcdserverpb.Cluster/MemberRemove", wire.MemberRemoveRequest, wire.MemberRemoveResponse
)
