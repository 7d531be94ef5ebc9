"""Administration of one etcd: users, roles, exact ranges, alarms, defragmentation (DESIGN section 5:
``credentials`` is the only editor of users, ``janitor`` of space).

A component is a user named as its certificate's common name, without a password, holding one role whose
grants are exact half-open ranges. ``ensure_*`` bring about a state and are idempotent; removing a grant
does not end watches that are open (etcd checks them once: measured), so whoever revokes must also cut
the connection behind it.
"""

from __future__ import annotations

from collections.abc import Coroutine, Iterable
from dataclasses import dataclass

from isthmus.kv import methods
from isthmus.kv import wire_pb2 as wire
from isthmus.kv.errors import InvalidRequest
from isthmus.kv.etcd import EtcdStore
from isthmus.kv.grants import Access, Grant
from isthmus.kv.methods import Method, Request, Response
from isthmus.kv.ranges import KeyRange

__all__ = ["Access", "Alarm", "EtcdAdmin", "Grant", "Member", "MemberStatus"]

ROOT = "root"


_TO_WIRE = {
    Access.READ: wire.Permission.READ,
    Access.WRITE: wire.Permission.WRITE,
    Access.READ_WRITE: wire.Permission.READWRITE,
}
_FROM_WIRE = {number: access for access, number in _TO_WIRE.items()}


@dataclass(frozen=True, slots=True)
class MemberStatus:
    """Of the one member that answered."""

    member_id: int
    leader_id: int
    version: str
    revision: int
    db_size_bytes: int
    db_size_in_use_bytes: int
    errors: tuple[str, ...]
    quota_bytes: int = 0
    """0: the server does not say (before etcd 3.6)."""

    @property
    def is_leader(self) -> bool:
        return self.member_id == self.leader_id


@dataclass(frozen=True, slots=True)
class Alarm:
    """A raised alarm: ``kind`` is ``NOSPACE`` or ``CORRUPT``."""

    member_id: int
    kind: str


@dataclass(frozen=True, slots=True)
class Member:
    """One member of the cluster."""

    member_id: int
    name: str
    peer_urls: tuple[str, ...]
    client_urls: tuple[str, ...]
    is_learner: bool


class EtcdAdmin:
    """On the connection of ``store``, with the rights of its identity (``root`` for most calls)."""

    def __init__(self, store: EtcdStore, *, timeout_s: float = 10.0) -> None:
        self._calls = store.calls
        self._timeout_s = timeout_s

    async def _do(self, method: Method[Request, Response], request: Request, what: str) -> Response:
        return await self._calls.unary(
            method, request, what=what, writes=True, timeout_s=self._timeout_s
        )

    async def _ask(
        self, method: Method[Request, Response], request: Request, what: str
    ) -> Response:
        return await self._calls.unary(
            method, request, what=what, writes=False, timeout_s=self._timeout_s
        )

    # ---- users

    async def users(self) -> tuple[str, ...]:
        answer = await self._ask(methods.USER_LIST, wire.AuthUserListRequest(), "list users")
        return tuple(answer.users)

    async def user_roles(self, user: str) -> tuple[str, ...]:
        request = wire.AuthUserGetRequest(name=user)
        answer = await self._ask(methods.USER_GET, request, f"roles of user {user!r}")
        return tuple(answer.roles)

    async def add_user(self, user: str, password: str | None = None) -> None:
        """Without a password the user is known by certificate only."""
        request = wire.AuthUserAddRequest(
            name=user,
            password=password or "",
            options=wire.UserAddOptions(no_password=password is None),
        )
        await self._do(methods.USER_ADD, request, f"add user {user!r}")

    async def delete_user(self, user: str) -> None:
        request = wire.AuthUserDeleteRequest(name=user)
        await self._do(methods.USER_DELETE, request, f"delete user {user!r}")

    async def change_password(self, user: str, password: str) -> None:
        request = wire.AuthUserChangePasswordRequest(name=user, password=password)
        await self._do(methods.USER_CHANGE_PASSWORD, request, f"change password of {user!r}")

    async def grant_role(self, user: str, role: str) -> None:
        request = wire.AuthUserGrantRoleRequest(user=user, role=role)
        await self._do(methods.USER_GRANT_ROLE, request, f"grant role {role!r} to {user!r}")

    async def revoke_role(self, user: str, role: str) -> None:
        request = wire.AuthUserRevokeRoleRequest(name=user, role=role)
        await self._do(methods.USER_REVOKE_ROLE, request, f"revoke role {role!r} of {user!r}")

    async def ensure_user(self, user: str, roles: Iterable[str]) -> None:
        """The user exists and holds exactly ``roles``."""
        wanted = set(roles)
        if user not in await self.users():
            await self._unless_there(self.add_user(user))
        held = set(await self.user_roles(user))
        for role in sorted(wanted - held):
            await self.grant_role(user, role)
        for role in sorted(held - wanted):
            await self.revoke_role(user, role)

    async def ensure_no_user(self, user: str) -> None:
        """The user does not exist. Cut its connections, too: open watches go on delivering."""
        if user in await self.users():
            await self.delete_user(user)

    # ---- roles

    async def roles(self) -> tuple[str, ...]:
        answer = await self._ask(methods.ROLE_LIST, wire.AuthRoleListRequest(), "list roles")
        return tuple(answer.roles)

    async def role_grants(self, role: str) -> frozenset[Grant]:
        request = wire.AuthRoleGetRequest(role=role)
        answer = await self._ask(methods.ROLE_GET, request, f"grants of role {role!r}")
        return frozenset(
            Grant(KeyRange(held.key, held.range_end), _FROM_WIRE[held.permType])
            for held in answer.perm
        )

    async def add_role(self, role: str) -> None:
        await self._do(methods.ROLE_ADD, wire.AuthRoleAddRequest(name=role), f"add role {role!r}")

    async def delete_role(self, role: str) -> None:
        request = wire.AuthRoleDeleteRequest(role=role)
        await self._do(methods.ROLE_DELETE, request, f"delete role {role!r}")

    async def grant(self, role: str, grant: Grant) -> None:
        permission = wire.Permission(
            permType=_TO_WIRE[grant.access], key=grant.keys.start, range_end=grant.keys.end
        )
        request = wire.AuthRoleGrantPermissionRequest(name=role, perm=permission)
        await self._do(methods.ROLE_GRANT, request, f"grant {grant.keys} to role {role!r}")

    async def revoke(self, role: str, keys: KeyRange) -> None:
        request = wire.AuthRoleRevokePermissionRequest(
            role=role, key=keys.start, range_end=keys.end
        )
        await self._do(methods.ROLE_REVOKE, request, f"revoke {keys} from role {role!r}")

    async def ensure_role(self, role: str, grants: Iterable[Grant]) -> None:
        """The role exists and holds exactly ``grants``. Rights that go are taken first."""
        wanted = frozenset(grants)
        self._refuse_doubles(role, wanted)
        if role not in await self.roles():
            await self._unless_there(self.add_role(role))
        held = await self.role_grants(role)
        wanted_ranges = {grant.keys for grant in wanted}
        for grant in sorted(held - wanted, key=_by_range):
            if grant.keys not in wanted_ranges:
                await self.revoke(role, grant.keys)
        for grant in sorted(wanted - held, key=_by_range):
            await self.grant(role, grant)

    @staticmethod
    def _refuse_doubles(role: str, grants: frozenset[Grant]) -> None:
        """etcd keeps one permission per exact range: the last one would win silently."""
        if len({grant.keys for grant in grants}) != len(grants):
            raise InvalidRequest(
                f"role {role!r}: two grants on the same range; merge them into read-write"
            )

    async def _unless_there(self, adding: Coroutine[object, object, None]) -> None:
        """Add; somebody else may have been faster."""
        try:
            await adding
        except InvalidRequest as error:
            if "already exists" not in str(error):
                raise

    # ---- authentication as a whole

    async def auth_enabled(self) -> bool:
        answer = await self._ask(methods.AUTH_STATUS, wire.AuthStatusRequest(), "auth status")
        return answer.enabled

    async def enable_auth(self) -> None:
        """From now on every call needs a user. Makes ``root`` first, which etcd insists on."""
        if await self.auth_enabled():
            return
        if ROOT not in await self.roles():
            await self._unless_there(self.add_role(ROOT))
        await self.ensure_user(ROOT, [ROOT])
        await self._do(methods.AUTH_ENABLE, wire.AuthEnableRequest(), "enable auth")

    async def disable_auth(self) -> None:
        """Everybody may do everything: repair only."""
        await self._do(methods.AUTH_DISABLE, wire.AuthDisableRequest(), "disable auth")

    # ---- space and members

    async def member_status(self) -> MemberStatus:
        """Of the member that answers: use :meth:`EtcdSettings.only` to choose it."""
        answer = await self._ask(methods.STATUS, wire.StatusRequest(), "status")
        return MemberStatus(
            answer.header.member_id,
            answer.leader,
            answer.version,
            answer.header.revision,
            answer.dbSize,
            answer.dbSizeInUse,
            tuple(answer.errors),
            answer.dbSizeQuota,
        )

    async def alarms(self) -> tuple[Alarm, ...]:
        answer = await self._ask(methods.ALARM, wire.AlarmRequest(), "list alarms")
        return tuple(
            Alarm(alarm.memberID, wire.AlarmType.Name(alarm.alarm)) for alarm in answer.alarms
        )

    async def disarm(self, alarm: Alarm) -> None:
        """Lift ``alarm``; it comes back with the next write when its cause is still there."""
        request = wire.AlarmRequest(
            action=wire.AlarmRequest.DEACTIVATE,
            memberID=alarm.member_id,
            alarm=alarm.kind,
        )
        await self._do(methods.ALARM, request, f"disarm {alarm.kind}")

    async def defragment(self, *, timeout_s: float = 60.0) -> None:
        """Give free pages back. The member answers nothing meanwhile: one at a time, the leader last."""
        await self._calls.unary(
            methods.DEFRAGMENT,
            wire.DefragmentRequest(),
            what="defragment",
            writes=True,
            timeout_s=timeout_s,
        )

    async def move_leader(self, member_id: int) -> None:
        """Hand leadership to ``member_id``; only the leader itself can."""
        request = wire.MoveLeaderRequest(targetID=member_id)
        await self._do(methods.MOVE_LEADER, request, f"move leadership to {member_id:x}")

    async def members(self) -> tuple[Member, ...]:
        request = wire.MemberListRequest(linearizable=True)
        answer = await self._ask(methods.MEMBER_LIST, request, "list members")
        return tuple(_member(member) for member in answer.members)

    async def add_member(self, peer_urls: Iterable[str]) -> Member:
        request = wire.MemberAddRequest(peerURLs=list(peer_urls))
        return _member((await self._do(methods.MEMBER_ADD, request, "add a member")).member)

    async def remove_member(self, member_id: int) -> None:
        request = wire.MemberRemoveRequest(ID=member_id)
        await self._do(methods.MEMBER_REMOVE, request, f"remove member {member_id:x}")


def _by_range(grant: Grant) -> tuple[bytes, bytes]:
    return grant.keys.start, grant.keys.end


def _member(message: wire.Member) -> Member:
    return Member(
        message.ID,
        message.name,
        tuple(message.peerURLs),
        tuple(message.clientURLs),
        message.isLearner,
    )
